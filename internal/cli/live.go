package cli

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// live shows the steps of one operation on Stderr while they happen: redrawn on a terminal, otherwise one line for each
// change. It is not safe for concurrent use.
type live struct {
	env      Env
	terminal bool
	drawn    int // lines on the terminal that the next drawing replaces
	closed   bool
	told     map[string]string // step and attempt to the state and detail last printed
	last     string            // state of the operation last printed
}

func newLive(env Env) *live {
	return &live{env: env, terminal: env.isTerminal(env.Stderr), told: map[string]string{}}
}

// update shows op.
func (l *live) update(op operationView) {
	if l.terminal {
		l.redraw(op)
		return
	}
	l.tell(op)
}

// close leaves what is drawn on the terminal as it is.
func (l *live) close() { l.closed = true }

// redraw moves the cursor to the first line drawn before and overwrites everything; lines never wrap, so that their
// number is known.
func (l *live) redraw(op operationView) {
	if l.closed {
		return
	}
	lines := frame(op, time.Now())
	width := l.env.width(l.env.Stderr) - 1
	var b strings.Builder
	if l.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", l.drawn)
	}
	for _, line := range lines {
		b.WriteString("\r\x1b[2K" + clip(line, width) + "\n")
	}
	b.WriteString("\x1b[J")
	l.drawn = len(lines)
	_, _ = io.WriteString(l.env.Stderr, b.String())
}

// frame returns the lines of one drawing, cleaned.
func frame(op operationView, now time.Time) []string {
	head := fmt.Sprintf("%s: %s %s", op.subject(), cell(op.State), elapsed(&op.CreatedAt, op.EndedAt, now))
	lines := []string{strings.TrimRight(head, " ")}
	for _, s := range op.Steps {
		lines = append(lines, "  "+stepLine(s, now))
	}
	return lines
}

func stepLine(s stepView, now time.Time) string {
	name := cell(s.Name)
	if s.Attempt > 1 {
		name += fmt.Sprintf(" (%d)", s.Attempt)
	}
	line := fmt.Sprintf("%-12s %-10s %7s  %s", name, cell(s.State), elapsed(s.StartedAt, s.EndedAt, now), cell(s.Detail))
	return strings.TrimRight(line, " ")
}

// tell prints each state of the operation, and each state and progress of each step, once: a final state of the operation
// after its steps.
func (l *live) tell(op operationView) {
	if op.open() || l.last == "" {
		l.tellState(op)
	}
	for _, s := range op.Steps {
		key := fmt.Sprintf("%s/%d", s.Name, s.Attempt)
		if l.told[key] == s.State+s.Detail {
			continue
		}
		l.told[key] = s.State + s.Detail
		if s.EndedAt == nil {
			s.StartedAt = nil // a duration is worth a line of its own only at the end
		}
		l.line("%s", strings.Join(strings.Fields(stepLine(s, time.Time{})), " "))
	}
	l.tellState(op)
}

func (l *live) tellState(op operationView) {
	if op.State == l.last {
		return
	}
	l.last = op.State
	l.line("operation %s %s: %s", cell(op.ID), op.subject(), cell(op.State))
}

func (l *live) line(format string, args ...any) {
	_, _ = fmt.Fprintf(l.env.Stderr, format+"\n", args...)
}
