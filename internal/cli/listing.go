package cli

import (
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

// listing is a list of what was ingested.
type listing struct {
	command *cobra.Command
	path    string
	filters []filter
	// search takes the arguments for a text to search for.
	search bool
	// times says which time --from and --to bound.
	times string
	table func(*session) func(reply) error
}

// filter is a flag that narrows a list: with dashes, as a parameter of the API with underscores.
type filter struct {
	name, usage string
	choices     []string
	hidden      bool // - reads it from standard input
}

func (f filter) parameter() string { return strings.ReplaceAll(f.name, "-", "_") }

var (
	deckyFilter    = filter{name: "decky", usage: "only on this decky, by its key; import:SENSOR for imports"}
	serviceFilter  = filter{name: "service", usage: "only on this service"}
	attackerFilter = filter{name: "attacker", usage: "only of this attacker, an id or an address"}
)

// query is what the flags of a list say.
type query struct {
	listing
	page
	wanted   map[string]*string
	from, to string
	export
}

const searchHelp = `The SEARCH is made of all arguments, and everything in it must be true of what is listed. Words are found where they follow each
other in the text, the last of which may go on. Double quotes keep spaces together; the shell takes those that are not quoted once
more.`

// instead is what a command may do instead of listing. It reports whether it did.
type instead func(s *session, q *query, values url.Values) (bool, error)

// listCommand returns the command of a list; other may be nil.
func (a *app) listCommand(l listing, other instead) *cobra.Command {
	c := l.command
	q := &query{listing: l, wanted: map[string]*string{}}
	if l.search {
		c.Args = cobra.ArbitraryArgs
		c.ValidArgsFunction = cobra.NoFileCompletions
		c.Long = cmp.Or(c.Long, c.Short+".") + "\n\n" + searchHelp
	} else {
		c.Args = cobra.NoArgs
	}
	if l.times != "" {
		c.Long = cmp.Or(c.Long, c.Short+".") + "\n\n--from and --to bound " + l.times + ". " + timeHelp + " A duration is that long ago."
	}
	q.flags(a, c)
	c.RunE = func(c *cobra.Command, args []string) error { return a.runList(c, q, args, other) }
	return c
}

func (q *query) flags(a *app, c *cobra.Command) {
	f := c.Flags()
	for _, x := range q.filters {
		q.wanted[x.name] = f.String(x.name, "", x.usage)
		if slices.Equal(x.choices, yesOrNo) {
			f.Lookup(x.name).NoOptDefVal = yesOrNo[0]
		}
		if x.choices != nil {
			_ = c.RegisterFlagCompletionFunc(x.name, cobra.FixedCompletions(x.choices, cobra.ShellCompDirectiveNoFileComp))
		}
	}
	if q.times != "" {
		f.StringVar(&q.from, "from", "", "not before this time")
		f.StringVar(&q.to, "to", "", "before this time")
	}
	q.page.flags(c)
	q.export.flags(a, c)
}

func (a *app) runList(c *cobra.Command, q *query, args []string, other instead) error {
	q.file = a.takeFile()
	values, err := q.parameters(a, args, time.Now())
	if err != nil {
		return err
	}
	s, err := a.session(c)
	if err != nil {
		return err
	}
	if other != nil {
		if done, err := other(s, q, values); done || err != nil {
			return err
		}
	}
	if q.export.given(c) {
		return s.exports(q, values)
	}
	return s.list(c.Context(), q.path, values, q.page, q.table(s))
}

// parameters returns the filters as the API takes them.
func (q *query) parameters(a *app, args []string, now time.Time) (url.Values, error) {
	list := url.Values{}
	for _, f := range q.filters {
		text := *q.wanted[f.name]
		if f.hidden && text == "-" {
			var err error
			if text, err = (&values{app: a}).ask("the " + f.name); err != nil {
				return nil, err
			}
		}
		if text != "" {
			list.Set(f.parameter(), text)
		}
	}
	if search := strings.TrimSpace(strings.Join(args, " ")); search != "" {
		list.Set("search", search)
	}
	for flag, text := range map[string]string{"from": q.from, "to": q.to} {
		if text == "" {
			continue
		}
		at, err := parseTime(text, now, -1)
		if err != nil {
			return nil, usagef("--%s %w", flag, err)
		}
		list.Set(flag, at.Format(time.RFC3339Nano))
	}
	return list, nil
}

// export is how a whole list is written to a file.
type export struct {
	format  string
	file    string
	maxRows int
	force   bool
}

func (e *export) flags(a *app, c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&e.format, "format", "", "write the whole list as csv or ndjson")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]string{"csv", "ndjson"}, cobra.ShellCompDirectiveNoFileComp))
	f.IntVar(&e.maxRows, "max-rows", 0, "with --format, how many items at most, up to 1000000 (default: the API's, 100000)")
	f.BoolVar(&e.force, "force", false, "with --format, replace the file if it is there")
	a.fileFlag(c, "json or table (default: table on a terminal, json otherwise); with --format, the file to write (default: standard output)")
}

func (e *export) given(c *cobra.Command) bool {
	return e.format != "" || e.file != "" || c.Flags().Changed("max-rows") || e.force
}

// exports writes the whole list, as the API has it: attackers' text included, but not to a terminal.
func (s *session) exports(q *query, values url.Values) error {
	kinds := map[string]string{"csv": "text/csv", "ndjson": "application/x-ndjson"}
	switch {
	case q.format == "" && q.file == "":
		return usagef("--max-rows and --force need --format")
	case q.format == "":
		return usagef("--output must be json or table; for a file, give --format too")
	case kinds[q.format] == "":
		return usagef("--format must be csv or ndjson")
	case s.flags.output != "":
		return usagef("with --format, --output names a file; write ./%s for one of that name", s.flags.output)
	case q.page != page{}:
		return usagef("--limit, --cursor and --all are for pages; --format writes the whole list, see --max-rows")
	case q.maxRows < 0:
		return usagef("--max-rows must not be negative")
	}
	values.Set("format", q.format)
	if q.maxRows > 0 {
		values.Set("max_rows", strconv.Itoa(q.maxRows))
	}
	ctx, cancel := s.openEnded(s.cmd)
	defer cancel()
	escape := Clean
	if q.format == "ndjson" {
		escape = escapeJSON
	}
	rows := &rowReader{csv: q.format == "csv"}
	k := call{method: http.MethodGet, path: q.path + "?" + values.Encode(), accept: kinds[q.format]}
	_, err := s.save(ctx, k, saving{
		name: q.file, force: q.force, screen: func(w io.Writer) io.Writer { return &lineCleaner{w: w, escape: escape} }, check: rows.failure,
	}, rows)
	if err != nil {
		return s.refused(late(ctx, err))
	}
	if limit := cmp.Or(q.maxRows, defaultMaxRows); rows.count() >= limit {
		s.note("these are the first %d; there may be more, see --max-rows", limit)
	}
	return nil
}

// defaultMaxRows is what the API takes for max_rows.
const defaultMaxRows = 100_000

// rowReader looks at an export that passes: how many rows it has, and whether it ends in an error, as one in ndjson may.
type rowReader struct {
	csv    bool
	quoted bool
	lines  int
	last   []byte // line of ndjson, as far as it may be an error
}

func (r *rowReader) Write(p []byte) (int, error) {
	for _, b := range p {
		switch {
		case b == '"' && r.csv:
			r.quoted = !r.quoted
		case b == '\n' && !r.quoted:
			r.lines++
		}
		switch {
		case r.csv:
		case len(r.last) > 0 && r.last[len(r.last)-1] == '\n':
			r.last = append(r.last[:0], b)
		case len(r.last) < maxInputBytes:
			r.last = append(r.last, b)
		}
	}
	return len(p), nil
}

func (r *rowReader) count() int {
	if r.csv {
		return r.lines - 1
	}
	return r.lines
}

// failure returns the error in the last line.
func (r *rowReader) failure() error {
	var line struct {
		Error json.RawMessage `json:"error"`
	}
	if r.csv || json.Unmarshal(r.last, &line) != nil || line.Error == nil {
		return nil
	}
	var status struct {
		Status int `json:"status"`
	}
	_ = json.Unmarshal(line.Error, &status) // without it, none is told
	return newProblem(reply{status: status.Status, body: line.Error})
}

// lineCleaner makes lines of text fit for a terminal; line breaks stay.
type lineCleaner struct {
	w      io.Writer
	escape func(string) string
	rest   []byte // of a character that is not complete
}

func (l *lineCleaner) Write(p []byte) (int, error) {
	text := append(l.rest, p...)
	whole := len(text)
	for i := max(len(text)-utf8.UTFMax+1, 0); i < len(text); i++ {
		if utf8.RuneStart(text[i]) && !utf8.FullRune(text[i:]) {
			whole = i
			break
		}
	}
	l.rest = append([]byte(nil), text[whole:]...)
	lines := strings.Split(string(text[:whole]), "\n")
	for i := range lines {
		lines[i] = l.escape(strings.TrimSuffix(lines[i], "\r"))
	}
	if _, err := io.WriteString(l.w, strings.Join(lines, "\n")); err != nil {
		return 0, err
	}
	return len(p), nil
}
