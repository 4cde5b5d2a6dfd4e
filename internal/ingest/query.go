package ingest

import (
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"
)

// MaxQueryBytes bounds the text of a search; maxQueryTerms the parts of it.
const (
	MaxQueryBytes = 512
	maxQueryTerms = 32
)

// Query is a search over the log: everything in it must be true of an event. The zero Query is true of all.
type Query struct {
	// Document is a condition in the syntax of Postgres' tsquery, every lexeme quoted; "" for none.
	Document string
	// Fields are parameters of the line that must have exactly these values.
	Fields map[string]string
}

// QueryError says what is wrong with the text of a search, in words that quote nothing of it.
type QueryError string

func (e QueryError) Error() string { return string(e) }

const (
	errQueryLong   QueryError = "the search is too long"
	errQueryTerms  QueryError = "the search has too many parts"
	errQuerySecret QueryError = "secrets are looked up among the credentials"
	errQueryEmpty  QueryError = "a part of the search has neither a letter nor a digit"
	errQueryIP     QueryError = "an attacker is given by address"
)

// columns maps the keys a search may use to columns; attacker's aliases are those of the older system.
var columns = map[string]string{
	"decky": ColumnDecky, "service": ColumnService, "event": ColumnType, "class": ColumnClass, "session": ColumnSession,
	"attacker": ColumnAttacker, "attacker-ip": ColumnAttacker, "attacker_ip": ColumnAttacker, "ip": ColumnAttacker,
}

// ParseQuery reads a search as people type it (bus sheet 7): parts separated by spaces, all of which must match. Quotes keep
// spaces together; an unbalanced one is a character like others. `key:value` asks for a column (decky, service, event,
// class, session, attacker) or for a field of the line with exactly that value; anything else is found where the line
// has the same words in the same order, the last of which may go on.
func ParseQuery(text string) (Query, error) {
	if len(text) > MaxQueryBytes {
		return Query{}, errQueryLong
	}
	parts := splitQuery(strings.ToValidUTF8(text, " "))
	if len(parts) > maxQueryTerms {
		return Query{}, errQueryTerms
	}
	b := queryBuilder{fields: map[string]string{}}
	for _, p := range parts {
		if err := b.add(p); err != nil {
			return Query{}, err
		}
	}
	return Query{Document: strings.Join(b.terms, " & "), Fields: b.fields}, nil
}

// ParseWords reads a search over a text that has no columns: parts as for ParseQuery, all of which are words.
func ParseWords(text string) (Query, error) {
	if len(text) > MaxQueryBytes {
		return Query{}, errQueryLong
	}
	parts := splitQuery(strings.ToValidUTF8(text, " "))
	if len(parts) > maxQueryTerms {
		return Query{}, errQueryTerms
	}
	var b queryBuilder
	for _, p := range parts {
		if err := b.words(p, true); err != nil {
			return Query{}, err
		}
	}
	return Query{Document: strings.Join(b.terms, " & ")}, nil
}

// With returns the query narrowed to a value of a column.
func (q Query) With(column, value string) Query {
	term := quoteLexeme(ColumnLexeme(column, value))
	if q.Document != "" {
		term = q.Document + " & " + term
	}
	q.Document = term
	return q
}

// RepeatsSecret reports whether the query asks for a field that a viewer does not see of an event that carries a secret:
// finding the event would tell what is in it.
func (q Query) RepeatsSecret() bool {
	for k := range q.Fields {
		if !Shown(k, true) {
			return true
		}
	}
	return false
}

type queryBuilder struct {
	terms  []string
	fields map[string]string
}

func (b *queryBuilder) add(part string) error {
	key, value, ok := strings.Cut(part, ":")
	if !ok || value == "" || strings.HasPrefix(value, "//") || !validKey(key) {
		return b.words(part, true)
	}
	if column, ok := columns[strings.ToLower(key)]; ok {
		if column == ColumnAttacker {
			ip, err := netip.ParseAddr(value)
			if err != nil {
				return errQueryIP
			}
			value = ip.WithZone("").Unmap().String()
		}
		b.terms = append(b.terms, quoteLexeme(ColumnLexeme(column, value)))
		return nil
	}
	if SecretField(key) {
		return errQuerySecret
	}
	b.fields[key] = value
	if !strings.HasSuffix(key, "_b64") {
		_ = b.words(value, false) // the words only make it faster
	}
	return nil
}

// words adds the condition that the words of a text follow each other.
func (b *queryBuilder) words(text string, open bool) error {
	var words []string
	Words(text, func(w string) { words = append(words, quoteLexeme(w)) })
	if len(words) == 0 {
		return errQueryEmpty
	}
	if open {
		words[len(words)-1] += ":*"
	}
	phrase := strings.Join(words, " <-> ")
	if len(words) > 1 {
		phrase = "(" + phrase + ")"
	}
	b.terms = append(b.terms, phrase)
	return nil
}

// validKey reports whether a part's beginning is the name of a column or field, and not the first half of an address or URL.
func validKey(key string) bool {
	if key == "" || len(key) > 48 || numeric(key) {
		return false
	}
	for _, r := range key {
		if r != '_' && r != '-' && (r >= utf8.RuneSelf || !inWord(r)) {
			return false
		}
	}
	return true
}

// numeric reports whether a text may be the first group of an IPv6 address or a port.
func numeric(s string) bool {
	_, err := strconv.ParseUint(s, 16, 64)
	return err == nil
}

func quoteLexeme(s string) string {
	return "'" + strings.NewReplacer(`'`, `''`, `\`, `\\`).Replace(s) + "'"
}

// splitQuery cuts at spaces outside double quotes; with an unbalanced quote at all spaces.
func splitQuery(text string) []string {
	if strings.Count(text, `"`)%2 != 0 {
		return strings.Fields(text)
	}
	var parts []string
	var part strings.Builder
	quoted, begun := false, false
	for _, r := range text {
		switch {
		case r == '"':
			quoted, begun = !quoted, true
		case !quoted && (r == ' ' || r == '\t' || r == '\n' || r == '\r'):
			if begun {
				parts = append(parts, part.String())
			}
			part.Reset()
			begun = false
		default:
			part.WriteRune(r)
			begun = true
		}
	}
	if begun {
		parts = append(parts, part.String())
	}
	return parts
}
