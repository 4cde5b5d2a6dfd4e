package ingest

import "slices"

// Mask stands where a viewer may not see a captured secret.
const Mask = "********"

// secretKeys are never shown to viewers. beside are the fields that may repeat the secret of an event that carries one: a
// form's body, a header, a statement.
var (
	secretKeys = []string{"secret_printable", "secret_b64", "pw_hash"}
	beside     = []string{"args", "body", "cmd", "command", "data", "headers", "input", "line", "query", "response", "salt", "sql"}
)

// SecretFields returns the names of the fields that hold a captured secret, sorted.
func SecretFields() []string { return slices.Sorted(slices.Values(secretKeys)) }

// SecretField reports whether a field of that name holds a captured secret, whatever the event.
func SecretField(key string) bool { return slices.Contains(secretKeys, key) }

// CarriesSecret reports whether the fields of an event hold a captured secret. Of such an event a viewer sees neither the
// raw line nor the message, and the fields as Shown says.
func CarriesSecret(has func(key string) bool) bool { return slices.ContainsFunc(secretKeys, has) }

// Shown reports whether a viewer may see a field of an event; carries is what CarriesSecret said of the event.
func Shown(key string, carries bool) bool {
	return !SecretField(key) && (!carries || !slices.Contains(beside, key))
}
