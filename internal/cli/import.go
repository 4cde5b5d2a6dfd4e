package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	"github.com/decnet/decnet/internal/imports"
)

const stdinName = "-"

func (a *app) importCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "import",
		Short: "Read logs of other honeypots in",
		Long: "Read logs of other honeypots in, as if their sensors were deckies. Their times are kept.\n\n" +
			"A log may be compressed with gzip. Lines that are known already are not stored again, so a log may be imported as often as you like:\n" +
			"whole, in parts, or overlapping with another. Several files are several imports, one after the other.",
	}
	a.clientFlags(c)
	for _, f := range []struct {
		format  imports.Format
		short   string
		example string
	}{
		{imports.Cowrie, "Import JSON logs of Cowrie (SSH and Telnet)", "  decnet import cowrie /var/log/cowrie/cowrie.json*\n  zcat old/*.gz | decnet import cowrie -"},
		{imports.OpenCanary, "Import JSON logs of OpenCanary", "  decnet import opencanary /var/tmp/opencanary.log"},
	} {
		c.AddCommand(a.importFormatCommand(f.format, f.short, f.example))
	}
	return c
}

// neverLate makes --timeout of a command one that applies only when it is given.
func neverLate(c *cobra.Command, a *app) {
	a.timeoutFlag(c, "stop watching after this long (default: never)")
	c.PersistentFlags().Lookup("timeout").DefValue = "0s" // in the help only; see patience
}

func (a *app) importFormatCommand(format imports.Format, short, example string) *cobra.Command {
	var detach bool
	var name string
	c := &cobra.Command{
		Use: string(format) + " FILE...", Short: short, Example: example,
		Long: short + ". A FILE of - is the standard input.\n\n" +
			"The command stays until every line is accounted for, and fails when an import did. Ctrl-C gives up an upload;\n" +
			"once a log is uploaded it goes on without the command.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			s, err := a.session(c)
			if err != nil {
				return err
			}
			return (&importing{session: s, format: format, name: name, detach: detach}).run(args)
		},
	}
	neverLate(c, a)
	c.Flags().BoolVar(&detach, "detach", false, "return once the logs are uploaded")
	c.Flags().StringVar(&name, "name", "", "what to call the log (default: the name of the file)")
	return c
}

// importing is one execution of an import command.
type importing struct {
	*session
	format imports.Format
	name   string
	detach bool
}

// run imports files one after the other. What could not even be uploaded ends it; what failed does not.
func (i *importing) run(files []string) error {
	if err := i.check(files); err != nil {
		return err
	}
	var done []importView
	var failed []error
	var stopped error
	for _, file := range files {
		view, r, err := i.one(file)
		if err != nil {
			stopped = err
			break
		}
		if i.app.format() == outputJSON {
			if err := i.writeBody(r.body); err != nil {
				return err
			}
		}
		done = append(done, view)
		if err := view.failure(); err != nil {
			failed = append(failed, err)
		}
	}
	if i.app.format() == outputTable && len(done) > 0 {
		if err := i.report(done); err != nil {
			return err
		}
	}
	return errors.Join(append(failed, stopped)...)
}

func (i *importing) report(done []importView) error {
	if !i.detach {
		return i.importRows(done, func(importView) []string { return nil })
	}
	for _, v := range done {
		if err := writeLines(i.env.Stdout, fmt.Sprintf("%s: import %s is running", cell(v.Name), cell(v.ID)),
			"  look with: "+i.hint("imports show "+cell(v.ID)+" --wait")); err != nil {
			return err
		}
	}
	return nil
}

// check finds mistakes before anything is uploaded.
func (i *importing) check(files []string) error {
	for n, file := range files {
		switch {
		case file != stdinName:
			info, err := os.Stat(file)
			if err != nil {
				return err
			}
			if info.IsDir() {
				return fmt.Errorf("%s is a directory", Clean(file))
			}
		case slices.Contains(files[:n], stdinName):
			return usagef("the standard input can be read once")
		case i.env.isTerminal(i.env.Stdin):
			return usagef("the standard input is a terminal; give it a log")
		}
	}
	return nil
}

// one uploads a file and, unless detached, waits for its end.
func (i *importing) one(file string) (importView, reply, error) {
	line := &statusLine{env: i.env}
	defer line.close()
	r, err := i.upload(file, line)
	if err != nil {
		return importView{}, r, err
	}
	var view importView
	if err := r.decode(&view); err != nil || i.detach {
		return view, r, err
	}
	return i.followImport(i.cmd, view.ID, line)
}

func (i *importing) upload(file string, line *statusLine) (reply, error) {
	r, name, total := i.env.Stdin, "stdin", int64(-1)
	if file != stdinName {
		f, err := os.Open(file)
		if err != nil {
			return reply{}, err
		}
		defer func() { _ = f.Close() }()
		r, name = f, filepath.Base(file)
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			total = info.Size()
			r = io.LimitReader(f, total) // what a sensor writes meanwhile is for the next time
		}
	}
	if i.name != "" {
		name = i.name
	}
	sent := &counting{r: r}
	ctx := i.cmd.Context()
	line.tell("%s: uploading", cell(name))
	stop := line.during(func() string { return uploadText(name, sent.n.Load(), total) })
	path := "/imports?" + url.Values{"format": {string(i.format)}, "name": {name}}.Encode()
	answer, err := i.client.upload(ctx, path, sent, total)
	stop()
	switch {
	case ctx.Err() != nil:
		return answer, fmt.Errorf("interrupted; the upload of %s was given up and nothing of it is imported", cell(name))
	case err == nil:
		err = answer.err()
	}
	if err != nil {
		return answer, i.refused(err)
	}
	return answer, nil
}

func uploadText(name string, sent, total int64) string {
	if total <= 0 {
		return fmt.Sprintf("%s: uploading, %s sent", cell(name), size(sent))
	}
	return fmt.Sprintf("%s: uploading, %s of %s (%d%%)", cell(name), size(sent), size(total), sent*100/total)
}

// followImport watches an import to its end. line may be nil.
func (s *session) followImport(c *cobra.Command, id string, line *statusLine) (importView, reply, error) {
	ctx, cancel := s.patience(c)
	defer cancel()
	if line == nil {
		line = &statusLine{env: s.env}
		defer line.close()
	}
	last := ""
	view, r, err := poll(ctx, s.client, importPath(id), func(v importView) {
		line.show(importText(v))
		if v.State != last {
			last = v.State
			line.tell("%s: import %s %s", cell(v.Name), cell(v.ID), cell(v.State))
		}
	})
	if err == nil {
		return view, r, nil
	}
	line.close()
	if ctx.Err() == nil {
		return view, r, s.refused(err)
	}
	s.note("Stopped watching; the import goes on.\n  look:   %s\n  cancel: %s",
		s.hint("imports show "+cell(id)), s.hint("imports cancel "+cell(id)))
	var away *unreachableError
	switch {
	case c.Context().Err() != nil:
		return view, r, fmt.Errorf("interrupted before import %s ended", cell(id))
	case errors.As(err, &away):
		return view, r, away
	}
	return view, r, fmt.Errorf("import %s has not ended after %s", cell(id), s.flags.timeout)
}

func importText(v importView) string {
	percent := int64(100)
	if v.BytesTotal > 0 {
		percent = v.BytesRead * 100 / v.BytesTotal
	}
	return fmt.Sprintf("%s: %s, %d%%: %d lines read, %d events stored, %d known", cell(v.Name), cell(v.State), percent, v.Lines.Read, v.Stored, v.Duplicates)
}

// patience applies --timeout only when it was given: an import takes as long as it takes.
func (s *session) patience(c *cobra.Command) (context.Context, context.CancelFunc) {
	if c.Flags().Changed("timeout") {
		return context.WithTimeout(c.Context(), s.flags.timeout)
	}
	return context.WithCancel(c.Context())
}

// counting counts what is read through it.
type counting struct {
	r io.Reader
	n atomic.Int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// statusLine is one line on Stderr that is rewritten on a terminal. Elsewhere only what is told appears, a line each.
type statusLine struct {
	env   Env
	mu    sync.Mutex
	shown bool
}

const redrawEvery = 200 * time.Millisecond

// show replaces the line by cleaned text.
func (l *statusLine) show(text string) {
	if !l.env.isTerminal(l.env.Stderr) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown = true
	_, _ = io.WriteString(l.env.Stderr, "\r\x1b[2K"+clip(text, l.env.width(l.env.Stderr)-1))
}

// tell says cleaned text where no terminal shows the line.
func (l *statusLine) tell(format string, args ...any) {
	if !l.env.isTerminal(l.env.Stderr) {
		_, _ = fmt.Fprintf(l.env.Stderr, format+"\n", args...)
	}
}

// during shows a changing text until stop is called.
func (l *statusLine) during(text func() string) (stop func()) {
	done := make(chan struct{})
	var drawing sync.WaitGroup
	drawing.Go(func() {
		ticker := time.NewTicker(redrawEvery)
		defer ticker.Stop()
		for {
			l.show(text())
			select {
			case <-done:
				return
			case <-ticker.C:
			}
		}
	})
	return func() { close(done); drawing.Wait() }
}

// close removes the line: what follows says more.
func (l *statusLine) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shown {
		l.shown = false
		_, _ = io.WriteString(l.env.Stderr, "\r\x1b[2K")
	}
}

// size says a number of bytes for people.
func size(n int64) string { return units.BytesSize(float64(n)) }
