package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

const keyHelp = `key:value in a search asks for decky, service, event, class, session or attacker, or for a field of the line with exactly that
value. Captured secrets are not searched: credentials --secret is for them.`

func (a *app) eventsCommand() *cobra.Command {
	var f follow
	c := a.listCommand(listing{
		command: &cobra.Command{
			Use:     "events [SEARCH...]",
			Aliases: []string{"event"},
			Short:   "List what decoys reported, newest first, and search in it",
			Long:    "List what decoys reported, newest first, and search in it.\n\n" + keyHelp + "\n\n" + followHelp,
			Example: "  decnet events wget --from 24h\n  decnet events 'cmd:\"uname -a\"' --service ssh\n  decnet events --follow --decky web-01",
		},
		path:   "/events",
		search: true,
		times:  "the time of the event",
		filters: []filter{
			deckyFilter, serviceFilter,
			{name: "type", usage: "only events of this type"},
			{name: "class", usage: "only events of this class"},
			{name: "attacker", usage: "only of this address"},
			{name: "session", usage: "only of this session, as the decoy calls it"},
		},
		table: func(s *session) func(reply) error { return s.eventTable },
	}, f.instead)
	a.clientFlags(c)
	f.flags(c)
	c.AddCommand(a.showCommand("show ID", "Show all that is known of an event", "/events", (*session).eventDetails))
	return c
}

// showCommand returns a command that shows what is at the path of a collection and its argument.
func (a *app) showCommand(use, short, path string, table func(*session, reply) error) *cobra.Command {
	return &cobra.Command{
		Use:               use,
		Short:             short,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: a.run(func(ctx context.Context, s *session, args []string) error {
			return s.show(ctx, path+"/"+url.PathEscape(args[0]), func(r reply) error { return table(s, r) })
		}),
	}
}

// eventView is an event as the API shows it.
type eventView struct {
	ID         string         `json:"id"`
	Time       *time.Time     `json:"time"`
	ReceivedAt *time.Time     `json:"received_at"`
	Type       string         `json:"type"`
	Class      string         `json:"class"`
	AttackerID string         `json:"attacker_id"`
	AttackerIP string         `json:"attacker_ip"`
	Port       *int           `json:"attacker_port"`
	Session    string         `json:"session"`
	Boot       string         `json:"boot"`
	Line       *int64         `json:"line"`
	Fields     map[string]any `json:"fields"`
	Msg        string         `json:"msg"`
	Raw        string         `json:"raw"`
	Masked     bool           `json:"masked"`
	origin
}

// origin says where something was seen.
type origin struct {
	Decky    string `json:"decky"`
	DeckyKey string `json:"decky_key"`
	Topology string `json:"topology_id"`
	Sensor   string `json:"sensor"`
	Service  string `json:"service"`
}

// place names the decky, and the sensor of an import.
func (o origin) place() string {
	name := cmp.Or(o.Decky, o.DeckyKey)
	if o.Sensor != "" && o.Sensor != name {
		name += " (" + o.Sensor + ")"
	}
	return name
}

func (o origin) pairs() []pair {
	return []pair{{"decky", o.Decky}, {"decky key", o.DeckyKey}, {"topology", o.Topology}, {"sensor", o.Sensor}, {"service", o.Service}}
}

// detail is what an event is about, in one line.
func (e eventView) detail() string { return cmp.Or(e.Msg, configText(e.Fields)) }

// precise is a stamp for what happens often.
func precise(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000Z")
}

func (s *session) eventTable(r reply) error {
	var l struct {
		Items []eventView `json:"items"`
	}
	if err := r.decode(&l); err != nil {
		return err
	}
	rows := make([][]string, len(l.Items))
	for i, e := range l.Items {
		rows[i] = []string{e.ID, precise(e.Time), e.place(), e.Service, e.Type, e.AttackerIP, e.detail()}
	}
	return s.writeFitted([]string{"id", "time", "decky", "service", "event", "attacker", "detail"}, rows)
}

func (s *session) eventDetails(r reply) error {
	var e eventView
	if err := r.decode(&e); err != nil {
		return err
	}
	attacker := e.AttackerIP
	if e.Port != nil {
		attacker = net.JoinHostPort(e.AttackerIP, strconv.Itoa(*e.Port))
	}
	masked := ""
	if e.Masked {
		masked = "it carries a secret; operators see all of it"
	}
	pairs := slices.Concat(
		[]pair{{"id", e.ID}, {"time", exact(e.Time)}, {"received", exact(e.ReceivedAt)}}, e.origin.pairs(),
		[]pair{
			{"event", e.Type},
			{"class", e.Class},
			{"attacker", attacker},
			{"attacker id", e.AttackerID},
			{"session", e.Session},
			{"boot", e.Boot},
			{"line", number64(e.Line)},
			{"masked", masked},
		})
	if err := writePairs(s.env.Stdout, pairs); err != nil {
		return err
	}
	var fields []pair
	for _, k := range slices.Sorted(maps.Keys(e.Fields)) {
		fields = append(fields, pair{k, valueText(e.Fields[k])})
	}
	return s.writeSections(section{"fields", fields}, section{"message", []pair{{"", e.Msg}}}, section{"line as it came", []pair{{"", e.Raw}}})
}

// exact is a stamp with all that is known.
func exact(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05.000000Z")
}

func number64(n *int64) string {
	if n == nil {
		return ""
	}
	return strconv.FormatInt(*n, 10)
}

// valueText prints what JSON holds: text as it is, anything else as JSON.
func valueText(v any) string {
	if text, ok := v.(string); ok {
		return text
	}
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

// section is a part of a description with a heading, left out when it says nothing.
type section struct {
	title string
	pairs []pair
}

func (s *session) writeSections(sections ...section) error {
	for _, x := range sections {
		x.pairs = slices.DeleteFunc(x.pairs, func(p pair) bool { return p.value == "" })
		if len(x.pairs) == 0 {
			continue
		}
		for i := range x.pairs {
			x.pairs[i].name = "  " + x.pairs[i].name
		}
		if err := writeLines(s.env.Stdout, "", x.title); err != nil {
			return err
		}
		if err := writeWhole(s.env.Stdout, x.pairs); err != nil {
			return err
		}
	}
	return nil
}
