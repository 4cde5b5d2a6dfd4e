package service

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/decnet/decnet/internal/fault"
)

// MaxValueBytes bounds one text value of a configuration.
const MaxValueBytes = 16 << 10

// Mask replaces a secret value wherever a configuration is shown.
const Mask = "********"

// Config is the configuration of one service, keyed by field. Values are string, int64, bool or []string after
// Validate; after a round trip through JSON numbers are float64.
type Config map[string]any

// Validate returns the accepted part of a submitted configuration: unknown keys, nulls and empty strings are dropped,
// the rest is coerced to its field's type. Every refused value is named in one Unprocessable fault (config_invalid)
// whose field locations start with prefix; the value itself is never echoed.
func (d Definition) Validate(prefix string, submitted map[string]any) (Config, error) {
	accepted := Config{}
	var refused []fault.Field
	for _, f := range d.Fields {
		raw, ok := submitted[f.Key]
		if !ok || raw == nil || raw == "" {
			continue
		}
		v, err := f.coerce(raw)
		if err != nil {
			refused = append(refused, refusal(prefix, f.Key, err))
			continue
		}
		accepted[f.Key] = v
	}
	if d.Check != nil && len(refused) == 0 {
		if key, err := d.Check(accepted); err != nil {
			refused = append(refused, refusal(prefix, key, err))
		}
	}
	if len(refused) > 0 {
		return nil, fault.New(fault.Unprocessable, "config_invalid", "%s", refused[0].Message).With(refused...)
	}
	return accepted, nil
}

func refusal(prefix, key string, err error) fault.Field {
	return fault.Field{Location: prefix + "." + key, Message: key + ": " + err.Error()}
}

// Complete returns config with the defaults of absent fields filled in: what a decoy is started with.
func (d Definition) Complete(config Config) Config {
	full := make(Config, len(d.Fields))
	for _, f := range d.Fields {
		if v, ok := config[f.Key]; ok {
			full[f.Key] = v
		} else if f.Default != nil {
			full[f.Key] = f.Default
		}
	}
	return full
}

// Masked returns a copy of config in which every secret is replaced by Mask.
func (d Definition) Masked(config Config) Config {
	shown := make(Config, len(config))
	for k, v := range config {
		shown[k] = v
	}
	for _, f := range d.Fields {
		if _, ok := shown[f.Key]; ok && f.Secret {
			shown[f.Key] = Mask
		}
	}
	return shown
}

// Unmask returns a submitted configuration in which every secret that is Mask, as it is when a form is sent back, has its
// current value again; one that has none is left out.
func Unmask(d Definition, submitted map[string]any, current Config) map[string]any {
	plain := maps.Clone(submitted)
	for _, f := range d.Fields {
		if !f.Secret || plain[f.Key] != Mask {
			continue
		}
		if v, ok := current[f.Key]; ok {
			plain[f.Key] = v
		} else {
			delete(plain, f.Key)
		}
	}
	return plain
}

// Masked returns config as it may be shown to any reader; nothing of it is shown when the service is not in the registry.
func Masked(name string, config Config) Config {
	d, ok := Lookup(name)
	if !ok {
		return Config{}
	}
	return d.Masked(config)
}

func (f Field) coerce(raw any) (any, error) {
	switch f.Type {
	case Int:
		return f.coerceInt(raw)
	case Bool:
		return coerceBool(raw)
	case MultiEnum:
		return f.coerceList(raw)
	case Enum:
		s, err := f.text(raw)
		if err == nil && !slices.Contains(f.Enum, s) {
			err = fmt.Errorf("must be one of %s", strings.Join(f.Enum, ", "))
		}
		return s, err
	case Textarea:
		s, err := f.text(raw)
		if err != nil {
			return nil, err
		}
		return decodeTextarea(s)
	case String, Password:
		return f.text(raw)
	}
	return nil, fmt.Errorf("has the unknown type %q", f.Type)
}

// exact is the largest whole number up to which a JSON number keeps its digits (RFC 8259 section 6, RFC 7493 section 2.2).
const exact = 1 << 53

// text accepts strings and plain scalars. Objects and lists are refused rather than printed, as are numbers that do not
// have the digits any more that were sent.
func (f Field) text(raw any) (string, error) {
	var s string
	switch v := raw.(type) {
	case string:
		s = v
	case bool:
		s = strconv.FormatBool(v)
	case float64:
		if math.Abs(v) > exact {
			return "", fmt.Errorf("must be text: as a number it is too large")
		}
		s = strconv.FormatFloat(v, 'f', -1, 64)
	case int64:
		s = strconv.FormatInt(v, 10)
	default:
		return "", fmt.Errorf("must be text")
	}
	switch {
	case len(s) > MaxValueBytes:
		return "", fmt.Errorf("must be at most %d bytes", MaxValueBytes)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("must be valid UTF-8")
	case f.Type != Textarea && strings.ContainsFunc(s, control), strings.ContainsRune(s, 0):
		return "", fmt.Errorf("must not contain control characters")
	case f.Pattern != nil && !f.Pattern.MatchString(s):
		return "", fmt.Errorf("must be %s", f.PatternHelp)
	}
	return s, nil
}

func control(r rune) bool { return r < 0x20 || r == 0x7f }

// coerceInt accepts whole numbers and their decimal text. JSON has one type of number: 4.0 is 4. Booleans and fractions are
// refused, in text too.
func (f Field) coerceInt(raw any) (int64, error) {
	var n int64
	switch v := raw.(type) {
	case int64:
		n = v
	case float64:
		if v != math.Trunc(v) || math.Abs(v) > exact {
			return 0, fmt.Errorf("must be a whole number")
		}
		n = int64(v)
	case string:
		parsed, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("must be a whole number")
		}
		n = parsed
	default:
		return 0, fmt.Errorf("must be a whole number")
	}
	if f.Max > 0 && (n < f.Min || n > f.Max) {
		return 0, fmt.Errorf("must be between %d and %d", f.Min, f.Max)
	}
	return n, nil
}

func coerceBool(raw any) (bool, error) {
	switch v := raw.(type) {
	case bool:
		return v, nil
	case string:
		switch strings.ToLower(v) {
		case "true", "1", "yes", "on":
			return true, nil
		case "false", "0", "no", "off":
			return false, nil
		}
	}
	return false, fmt.Errorf("must be true or false")
}

func (f Field) coerceList(raw any) ([]string, error) {
	items, ok := raw.([]any)
	if list, isText := raw.([]string); isText { // a default, or what was accepted before
		for _, s := range list {
			items = append(items, s)
		}
		ok = true
	}
	if !ok || len(items) == 0 {
		return nil, fmt.Errorf("must be a list of at least one of %s", strings.Join(f.Enum, ", "))
	}
	var chosen []string
	for _, item := range items {
		s, err := f.text(item)
		if err != nil || !slices.Contains(f.Enum, s) {
			return nil, fmt.Errorf("every item must be one of %s", strings.Join(f.Enum, ", "))
		}
		if !slices.Contains(chosen, s) {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

// decodeTextarea reads the "b64:" form in which a form may send text that JSON or a shell would mangle.
func decodeTextarea(s string) (string, error) {
	encoded, ok := strings.CutPrefix(s, "b64:")
	if !ok {
		return s, nil
	}
	b, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return "", fmt.Errorf("is not valid base64 behind its prefix")
	}
	if !utf8.Valid(b) || bytes.IndexByte(b, 0) >= 0 {
		return "", fmt.Errorf("must hold UTF-8 without NUL behind its base64 prefix")
	}
	return string(b), nil
}

// ValidHostname reports whether s is a host name of RFC 1123 of at most 253 characters.
func ValidHostname(s string) bool { return len(s) <= 253 && hostPattern.MatchString(s) }
