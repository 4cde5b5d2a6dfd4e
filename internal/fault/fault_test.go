package fault_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/internal/fault"
)

func TestError_TravelsWithoutItsCause(t *testing.T) {
	t.Parallel()
	cause := errors.New("password=hunter2")
	f := fault.New(fault.Conflict, "in_use", "%s is in use", "it").With(fault.Field{Location: "body.ip", Message: "taken"}).Wrap(cause)
	require.ErrorIs(t, f, cause)
	wire, err := json.Marshal(f)
	require.NoError(t, err)
	require.NotContains(t, string(wire), "hunter2")
	require.JSONEq(t, `{"kind":"Conflict","code":"in_use","message":"it is in use","fields":[{"location":"body.ip","message":"taken"}]}`, string(wire))
	safe := f.Safe()
	require.NotErrorIs(t, &safe, cause)
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	f := fault.New(fault.NotFound, "decky_not_found", "there is no such decky")
	require.Equal(t, fault.NotFound, fault.KindOf(fmt.Errorf("add service: %w", f)))
	require.Equal(t, fault.Internal, fault.KindOf(errors.New("boom")))
	require.Empty(t, fault.KindOf(nil))
	require.ErrorIs(t, fmt.Errorf("x: %w", f), fault.New(fault.NotFound, "decky_not_found", "another text"), "codes decide")
	require.Equal(t, "internal error", fault.From(errors.New("secret")).Message)
}

func TestWith_LeavesTheOriginalAlone(t *testing.T) {
	t.Parallel()
	base := fault.New(fault.Invalid, "x", "y")
	a, b := base.With(fault.Field{Location: "a"}), base.With(fault.Field{Location: "b"})
	require.Empty(t, base.Fields)
	require.Equal(t, "a", a.Fields[0].Location)
	require.Equal(t, "b", b.Fields[0].Location)
}
