package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// writeTable writes rows below a header, without frames. Every cell is cleaned here, whatever it holds.
func writeTable(w io.Writer, header []string, rows [][]string) error {
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	t.AppendHeader(tableRow(header))
	for _, r := range rows {
		t.AppendRow(tableRow(r))
	}
	_, err := io.WriteString(w, t.Render()+"\n")
	return err
}

// writeFitted is writeTable for rows that end in long text: on a terminal that is cut so that no line wraps.
func (a *app) writeFitted(header []string, rows [][]string) error {
	last := len(header) - 1
	if a.env.isTerminal(a.env.Stdout) {
		room := a.env.width(a.env.Stdout)
		for i := range last {
			widest := text.StringWidthWithoutEscSequences(header[i])
			for _, r := range rows {
				widest = max(widest, text.StringWidthWithoutEscSequences(cell(r[i])))
			}
			room -= widest + len("  ")
		}
		for _, r := range rows {
			r[last] = clip(cell(r[last]), max(room, narrowest))
		}
	}
	return writeTable(a.env.Stdout, header, rows)
}

// narrowest is what is left of long text however little room there is.
const narrowest = 20

func tableRow(cells []string) table.Row {
	row := make(table.Row, len(cells))
	for i, c := range cells {
		row[i] = cell(c)
	}
	return row
}

// pair is one line of a description.
type pair struct{ name, value string }

// writePairs writes the pairs that have a value, aligned.
func writePairs(w io.Writer, pairs []pair) error {
	width := 0
	for _, p := range pairs {
		width = max(width, len(p.name))
	}
	for _, p := range pairs {
		if p.value == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, p.name, cell(p.value)); err != nil {
			return err
		}
	}
	return nil
}

// writeWhole is writePairs without bounds, for a description that is all there is to see.
func writeWhole(w io.Writer, pairs []pair) error {
	width := 0
	for _, p := range pairs {
		width = max(width, len([]rune(Clean(p.name))))
	}
	for _, p := range pairs {
		if p.value == "" {
			continue
		}
		if _, err := fmt.Fprintf(w, "%-*s  %s\n", width, Clean(p.name), Clean(p.value)); err != nil {
			return err
		}
	}
	return nil
}

func joined(words []string) string { return strings.Join(words, ", ") }

func stamp(t *time.Time) string {
	if t == nil || t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05Z")
}

func number(n *int) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}
