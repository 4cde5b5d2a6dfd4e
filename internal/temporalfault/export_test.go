package temporalfault

import "github.com/decnet/decnet/internal/fault"

// Retryable exposes the table to its completeness test.
func Retryable() map[fault.Kind]bool { return retryable }
