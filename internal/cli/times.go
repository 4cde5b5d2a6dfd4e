package cli

import (
	"errors"
	"time"

	"github.com/spf13/cobra"
)

// timeHelp explains how times are given.
const timeHelp = `A time is 2026-01-31T18:00:00Z (RFC 3339), "2026-01-31 18:00" in UTC, or a duration such as 90m or 36h.`

// parseTime reads a time, or a duration that is added to now, times sign.
func parseTime(text string, now time.Time, sign time.Duration) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		if d <= 0 {
			return time.Time{}, errors.New("must be a positive duration")
		}
		return now.Add(sign * d).UTC(), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateTime + "Z07:00", time.DateTime, "2006-01-02 15:04"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, errors.New(`must be a time such as 2026-01-31T18:00:00Z or "2026-01-31 18:00", or a duration such as 90m`)
}

// lifetime says when a new service is removed again.
type lifetime struct{ in, at string }

func (e *lifetime) flags(c *cobra.Command) {
	c.Flags().StringVar(&e.in, "expires-in", "", "remove the service again after this duration, such as 2h")
	c.Flags().StringVar(&e.at, "expires-at", "", "remove the service again at this time")
}

// set puts the end into the body of a request.
func (e *lifetime) set(body map[string]any, now time.Time) error {
	if e.in != "" && e.at != "" {
		return usagef("--expires-in and --expires-at exclude each other")
	}
	text, flag := e.at, "--expires-at"
	if e.in != "" {
		text, flag = e.in, "--expires-in"
	}
	if text == "" {
		return nil
	}
	at, err := parseTime(text, now, 1)
	if err != nil {
		return usagef("%s %w", flag, err)
	}
	body["expires_at"] = at
	return nil
}
