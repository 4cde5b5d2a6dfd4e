// Package ingest turns what decoys write into what decnet knows: lines into records, records into events, sessions,
// credentials, commands and bounties.
//
// It is pure: no store, bus, file or clock; times are those of the lines. It stores nothing and publishes nothing, and where a
// line comes from is told by its caller. The invariant: bytes of an attacker may fill a value, never make a field, a record, an
// address or a name, and never cost more than their own size in memory or more than linear time.
//
// Importers of foreign logs (packages below this one) make records, and everything after the parser is the same.
package ingest
