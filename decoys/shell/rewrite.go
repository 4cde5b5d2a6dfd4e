package shell

import (
	"errors"
	"strings"
	"sync"

	"mvdan.cc/sh/v3/syntax"
)

// Static limits of a script, which keep expansions from exploding where nothing can interrupt them.
const (
	maxWordExpansions = 64
	maxLineExpansions = 2048
	maxBraceWords     = 16
	maxReplaceText    = 64
)

var errTooBig = errors.New("xrealloc: cannot allocate 18446744071562067968 bytes")

// rewrite prepares a parsed script for the interpreter, in place. What the interpreter would answer from the real
// process is redirected to hidden variables, named pipes become files of the pretended system, constructs it cannot run
// are removed, and every assignment is followed by a check of sizes.
func rewrite(f *syntax.File, funcs *sync.Map) error {
	r := &rewriter{ticked: map[*syntax.CallExpr]bool{}, funcs: funcs}
	syntax.Walk(f, func(n syntax.Node) bool {
		r.visit(n)
		return r.err == nil
	})
	return r.err
}

type rewriter struct {
	err        error
	expansions int
	braces     int
	ticked     map[*syntax.CallExpr]bool
	funcs      *sync.Map // names of functions seen so far
}

func (r *rewriter) visit(n syntax.Node) {
	switch n := n.(type) {
	case *syntax.Stmt:
		r.stmt(n)
	case *syntax.Word:
		r.word(n)
	case *syntax.ParamExp:
		r.param(n)
	case *syntax.FuncDecl:
		if n.Name != nil {
			r.funcs.Store(n.Name.Value, true)
		}
	case *syntax.DblQuoted:
		n.Parts = r.parts(n.Parts)
	}
}

func (r *rewriter) stmt(s *syntax.Stmt) {
	s.Coprocess, s.Disown = false, false
	kept := s.Redirs[:0]
	for _, rd := range s.Redirs {
		if supportedRedirect(rd) {
			kept = append(kept, rd)
		}
	}
	s.Redirs = kept
	switch c := s.Cmd.(type) {
	case *syntax.CoprocClause:
		s.Cmd = c.Stmt.Cmd
	case *syntax.TestDecl:
		s.Cmd = literalCall("true")
	case *syntax.ForClause:
		if c.Select {
			s.Cmd = literalCall("true")
		}
	case *syntax.CallExpr:
		if len(c.Args) == 0 && len(c.Assigns) > 0 && !r.ticked[c] {
			inner := &syntax.Stmt{Cmd: c, Position: s.Position}
			s.Cmd = &syntax.Block{Stmts: []*syntax.Stmt{inner, {Cmd: literalCall(tickName)}}}
			r.ticked[c] = true // the walk descends into the new block next
		}
	}
}

func literalCall(name string) *syntax.CallExpr {
	return &syntax.CallExpr{Args: []*syntax.Word{{Parts: []syntax.WordPart{&syntax.Lit{Value: name}}}}}
}

func supportedRedirect(rd *syntax.Redirect) bool {
	if rd.N != nil && rd.N.Value != "0" && rd.N.Value != "1" && rd.N.Value != "2" {
		return false
	}
	switch rd.Op {
	case syntax.RdrIn, syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.AppAll, syntax.Hdoc, syntax.DashHdoc, syntax.WordHdoc:
		return true
	case syntax.RdrClob:
		rd.Op = syntax.RdrOut
		return true
	case syntax.DplOut:
		return supportedDup(rd)
	case syntax.DplIn:
		return rd.Word.Lit() == "-"
	default: // not of bash, or for more descriptors than there are
		return false
	}
}

// supportedDup turns `>&file` into `&>file` and drops duplicates of descriptors the interpreter does not have.
func supportedDup(rd *syntax.Redirect) bool {
	switch w := rd.Word.Lit(); {
	case w == "1" || w == "2" || w == "-":
		return true
	case w == "" || strings.Trim(w, "0123456789") != "":
		rd.Op = syntax.RdrAll
		return rd.N == nil
	}
	return false
}

func (r *rewriter) word(w *syntax.Word) {
	w.Parts = r.parts(w.Parts)
	n := 0
	for _, p := range w.Parts {
		switch p := p.(type) {
		case *syntax.ParamExp, *syntax.CmdSubst:
			n++
		case *syntax.DblQuoted:
			n += len(p.Parts)
		case *syntax.Lit:
			if strings.Contains(p.Value, "{") && (strings.Contains(p.Value, "..") || strings.Contains(p.Value, ",")) {
				r.braces++
			}
		}
	}
	if r.expansions += n; n > maxWordExpansions || r.expansions > maxLineExpansions || r.braces > maxBraceWords {
		r.err = errTooBig
	}
}

// parts replaces process substitutions. `<(cmds)` becomes the name of a file that holds their output.
func (r *rewriter) parts(in []syntax.WordPart) []syntax.WordPart {
	for i, p := range in {
		ps, ok := p.(*syntax.ProcSubst)
		if !ok {
			continue
		}
		if ps.Op != syntax.CmdIn || len(ps.Stmts) == 0 {
			in[i] = &syntax.Lit{Value: "/dev/null"}
			continue
		}
		pipe := &syntax.BinaryCmd{
			Op: syntax.Pipe, X: &syntax.Stmt{Cmd: &syntax.Block{Stmts: ps.Stmts}}, Y: &syntax.Stmt{Cmd: literalCall("\x00pipefd")},
		}
		in[i] = &syntax.CmdSubst{Stmts: []*syntax.Stmt{{Cmd: pipe}}}
	}
	return in
}

func (r *rewriter) param(p *syntax.ParamExp) {
	if p.Param == nil || p.Flags != nil {
		r.err = errors.New("bad substitution")
		return
	}
	if p.Exp != nil && p.Exp.Op == syntax.OtherParamOps && !strings.Contains("UuLE", p.Exp.Word.Lit()) {
		r.err = errors.New("bad substitution")
	}
	switch p.Param.Value {
	case "$", "BASHPID":
		p.Param.Value = hiddenPID
	case "PPID":
		p.Param.Value = hiddenPPID
	case "0", "BASH_ARGV0":
		p.Param.Value = hiddenZero
	}
	if p.Repl != nil && p.Repl.With != nil && (len(p.Repl.With.Lit()) > maxReplaceText || p.Repl.With.Lit() == "" && len(p.Repl.With.Parts) > 0) {
		r.err = errTooBig
	}
}

// parse reads one complete script. Incomplete input is reported by syntax.IsIncomplete.
func parse(text string, funcs *sync.Map) (*syntax.File, error) {
	if len(text) > maxLineBytes {
		return nil, errTooBig
	}
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), "")
	if err != nil {
		return nil, err
	}
	return f, rewrite(f, funcs)
}

// reprint returns script text that is safe to hand to the interpreter's own eval, trap and alias.
func reprint(text string, funcs *sync.Map) (string, error) {
	f, err := parse(text, funcs)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, s := range f.Stmts {
		hideNames(s)
	}
	if err := syntax.NewPrinter().Print(&b, f); err != nil {
		return "", err
	}
	return b.String(), nil
}

// hideNames gives hidden names a spelling that survives being printed and parsed again.
func hideNames(n syntax.Node) {
	syntax.Walk(n, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.ParamExp:
			if n.Param != nil {
				n.Param.Value = printable(n.Param.Value)
			}
		case *syntax.Lit:
			n.Value = printable(n.Value)
		}
		return true
	})
}

func printable(name string) string {
	if strings.HasPrefix(name, "\x00") {
		return "__" + name[1:] + "_x"
	}
	return name
}
