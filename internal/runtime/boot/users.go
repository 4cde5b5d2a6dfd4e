package boot

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/google/uuid"
)

// UserRange is a block of user ids, used as group ids too. Every decky gets one id of it, derived from its uuid, so
// that it stays the same over restarts and needs no allocation table. The decoys of one decky share it.
//
// The default, 1900000000 to 1999999999, lies in the block that systemd's table of assignments leaves unused
// (1879048192 to 2147352575) and above every default of subordinate id allocation. It is large so that two deckies
// hardly ever meet; if they do, they share a user, and their sandboxes still keep them apart. In a user namespace that
// does not map it, the range is 61184 to 65519, which is reserved for services without an account of their own.
type UserRange struct {
	First uint32
	Count uint32
}

var (
	wideUsers   = UserRange{First: 1_900_000_000, Count: 100_000_000}
	narrowUsers = UserRange{First: 61184, Count: 65519 - 61184 + 1}
)

// OrDefault returns the range, or the default one for the zero value. A range that holds root is an error.
func (u UserRange) OrDefault() (UserRange, error) {
	if u.Count != 0 {
		if u.First == 0 {
			return u, errors.New("user range of decoys must not hold root")
		}
		return u, nil
	}
	if wideUsers.mapped() {
		return wideUsers, nil
	}
	return narrowUsers, nil
}

// mapped reports whether the whole range exists in this user namespace.
func (u UserRange) mapped() bool {
	f, err := os.Open("/proc/self/uid_map")
	if err != nil {
		return false
	}
	defer f.Close()
	for {
		var inside, outside, count uint64
		if _, err := fmt.Fscan(f, &inside, &outside, &count); err != nil {
			return false
		}
		if inside <= uint64(u.First) && uint64(u.First)+uint64(u.Count) <= inside+count {
			return true
		}
	}
}

// Owner returns the ids decoys of the decky run as: derived ones for root, the control plane's own otherwise.
func (u UserRange) Owner(decky uuid.UUID) (uid, gid int) {
	if os.Geteuid() != 0 {
		return os.Getuid(), os.Getgid()
	}
	id := int(u.First + uint32(binary.BigEndian.Uint64(decky[8:])%uint64(u.Count)))
	return id, id
}
