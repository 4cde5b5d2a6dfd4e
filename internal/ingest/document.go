package ingest

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of a document. Positions are those Postgres can hold (at most 16383).
const (
	maxWordBytes = 64
	maxWords     = 1024
	// fieldGap keeps phrases from reaching over the end of a field.
	fieldGap = 2
)

// Columns that can be asked for by name in a search, in the order of their lexemes.
const (
	ColumnDecky    = "decky"
	ColumnService  = "service"
	ColumnType     = "event"
	ColumnClass    = "class"
	ColumnAttacker = "attacker"
	ColumnSession  = "session"
)

// Lexeme is one entry of a document: a word at its positions, or a column at none.
type Lexeme struct {
	Text      string
	Positions []uint16
}

// ColumnLexeme returns the lexeme that stands for a column's value. No word has a colon in it, and none is the beginning of
// this one: a word that may go on would find it, and a phrase that ends in such a word would find nothing beside it, for it has
// no position.
func ColumnLexeme(column, value string) string {
	return ":" + column + ":" + cutBytes(strings.ToLower(value), maxWordBytes*2)
}

// Words calls emit for every word of a text: runs of letters and digits, lower-cased and cut at 64 bytes.
func Words(text string, emit func(string)) {
	for text != "" {
		start := strings.IndexFunc(text, inWord)
		if start < 0 {
			return
		}
		text = text[start:]
		end := strings.IndexFunc(text, func(r rune) bool { return !inWord(r) })
		if end < 0 {
			end = len(text)
		}
		emit(cutBytes(strings.ToLower(text[:end]), maxWordBytes))
		text = text[end:]
	}
}

func inWord(r rune) bool {
	if r < utf8.RuneSelf {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
	}
	return r != utf8.RuneError && (unicode.IsLetter(r) || unicode.IsDigit(r))
}

func cutBytes(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// Document returns what an event can be found by: the words of its message and of the values of its fields, in order, and its
// columns. No word is of a field that a viewer may not see, so that a search tells nobody what it does not show; base64 is
// left out, as nobody looks for it.
func Document(e *Event) []Lexeme {
	d := document{index: map[string]int{}}
	carries := CarriesSecret(func(k string) bool { _, ok := e.Fields.Lookup(k); return ok })
	for _, f := range e.Fields {
		if Shown(f.Key, carries) && !strings.HasSuffix(f.Key, "_b64") {
			d.text(f.Value)
		}
	}
	if !carries {
		d.text(e.Msg)
	}
	d.column(ColumnDecky, e.Source.DeckyKey)
	d.column(ColumnService, e.Service)
	d.column(ColumnType, e.Type)
	d.column(ColumnClass, string(e.Class))
	d.column(ColumnSession, e.Session)
	if e.Attacker.IsValid() {
		d.column(ColumnAttacker, e.Attacker.String())
	}
	return d.lexemes
}

// TextDocument returns what a single text can be found by.
func TextDocument(text string) []Lexeme {
	d := document{index: map[string]int{}}
	d.text(text)
	return d.lexemes
}

type document struct {
	lexemes []Lexeme
	index   map[string]int
	at      int
	words   int
}

func (d *document) text(text string) {
	Words(text, func(w string) {
		if d.words++; d.words > maxWords {
			return
		}
		d.at++
		i, ok := d.index[w]
		if !ok {
			i = len(d.lexemes)
			d.index[w] = i
			d.lexemes = append(d.lexemes, Lexeme{Text: w})
		}
		if l := &d.lexemes[i]; len(l.Positions) < 255 {
			l.Positions = append(l.Positions, uint16(d.at))
		}
	})
	d.at += fieldGap
}

func (d *document) column(column, value string) {
	if value != "" {
		d.lexemes = append(d.lexemes, Lexeme{Text: ColumnLexeme(column, value)})
	}
}
