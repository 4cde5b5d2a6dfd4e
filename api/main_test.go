package api_test

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/decnet/decnet/internal/embedded/embeddedtest.shared.spawn.func2"))
}
