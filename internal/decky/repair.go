package decky

import "time"

const (
	// QuarantineAfter is how many repairs in a row may fail before a decky is left alone.
	QuarantineAfter = 5

	firstPause   = 2 * time.Second
	longestPause = time.Minute
)

// AfterFailedRepair says what follows when a repair failed, the given number in a row: the state of the decky, and how
// long to wait before the next one.
func AfterFailedRepair(failures int) (State, time.Duration) {
	if failures >= QuarantineAfter {
		return Quarantined, 0
	}
	pause := firstPause
	for range failures - 1 {
		pause = min(2*pause, longestPause)
	}
	return Degraded, pause
}
