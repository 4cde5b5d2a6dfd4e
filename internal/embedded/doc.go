// Package embedded runs what decnet needs around it when nothing external is configured: a private Postgres cluster,
// a NATS server and a Temporal dev server, all under one locked data directory.
//
// It also owns the layout of that directory (secrets, ports, host id) and the ready file. It does not create tables,
// streams or workflows; db, bus and worker do that on the addresses it returns.
//
// Invariants: one control plane per data directory; a child process never outlives its parent for longer than it takes
// the kernel to deliver a signal, and a survivor is stopped only after its identity is proven; nothing listens beyond
// loopback; whatever was killed, and whenever, the next start needs no human.
package embedded
