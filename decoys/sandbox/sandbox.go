// Package sandbox takes from a decoy process everything it does not need, after it has bound its ports.
//
// Layers, from outside in: another user (when started by root), no capabilities, no_new_privs, resource limits, Landlock
// (where the kernel has it) and a seccomp allow list installed on all threads. After Apply the process can accept
// connections on the listeners it already holds, talk on them, and write below two directories; it cannot create a
// socket, connect, bind, listen (but see Options.Listen), execute, trace, mount or change namespaces. What is not on the
// list answers EPERM.
//
// Order matters: Landlock opens paths and the change of user needs root, so both come before the filter.
package sandbox

import "strings"

// Layer names, as reported in the `sandbox` field of the event `ready`.
const (
	LayerUser     = "user"
	LayerCaps     = "caps"
	LayerRlimits  = "rlimits"
	LayerLandlock = "landlock"
	LayerSeccomp  = "seccomp"
)

// Options says how to confine the process.
type Options struct {
	// UID and GID are the account to become when the process is root; zero leaves it as it is.
	UID, GID int
	// Writable lists the directories that stay writable. They must exist.
	Writable []string
	// Gate is the filter of the process that carries datagrams for a decoy (package gate): sendto and recvfrom on the sockets
	// it holds, and nothing of files, of other sockets or of new descriptors. No decoy has sendto.
	Gate bool
	// Listen keeps listen(2), for services that open ports they have bound already and closed again (package passive). Without socket,
	// bind and connect there is nothing else to listen on: a socket that was accepted or has been connected cannot be turned into a
	// listener.
	Listen bool
	// Unsafe continues when seccomp cannot be installed.
	Unsafe bool
}

// Report lists the layers that are in force, outermost first.
type Report struct {
	Layers []string
}

// String returns the layers separated by commas.
func (r Report) String() string { return strings.Join(r.Layers, ",") }
