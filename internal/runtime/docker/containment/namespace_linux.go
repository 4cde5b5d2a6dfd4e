package containment

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// inNamespace calls fn on a thread inside a network namespace; what fn starts is inside too. The thread is thrown away
// when it cannot come back.
func inNamespace(path string, fn func()) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- func() error {
			own, err := os.Open("/proc/thread-self/ns/net")
			if err != nil {
				return fmt.Errorf("open own network namespace: %w", err)
			}
			defer own.Close()
			target, err := os.Open(path)
			if err != nil {
				return fmt.Errorf("open network namespace: %w", err)
			}
			defer target.Close()
			if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter network namespace: %w", err)
			}
			fn()
			if err := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); err != nil {
				return nil //nolint:nilerr // the goroutine ends with its thread still locked, which ends the thread
			}
			runtime.UnlockOSThread()
			return nil
		}()
	}()
	return <-result
}

// InNamespace calls fn on a thread inside the network namespace at path, for sockets that must be born there.
func InNamespace(path string, fn func()) error { return inNamespace(path, fn) }
