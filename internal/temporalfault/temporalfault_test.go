package temporalfault_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"go.temporal.io/sdk/temporal"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/temporalfault"
)

func TestWrap_EveryKindSurvives(t *testing.T) {
	t.Parallel()
	for _, kind := range fault.Kinds() {
		want := fault.New(kind, "some_code", "a safe text").With(fault.Field{Location: "body.x", Message: "bad"})
		err := temporalfault.Wrap(want.Wrap(errors.New("secret cause")))

		var app *temporal.ApplicationError
		require.ErrorAs(t, err, &app)
		require.Equal(t, "some_code", app.Type())
		require.NotContains(t, err.Error(), "secret cause")
		_, listed := temporalfault.Retryable()[kind]
		require.True(t, listed, "kind %s has no entry", kind)
		require.Equal(t, !temporalfault.Retryable()[kind], app.NonRetryable())

		got := temporalfault.Unwrap(err)
		require.Equal(t, want, got)
	}
	require.Len(t, temporalfault.Retryable(), len(fault.Kinds()))
}

func TestWrap_UnknownErrorIsOpaque(t *testing.T) {
	t.Parallel()
	err := temporalfault.Wrap(errors.New("password=hunter2"))
	require.NotContains(t, err.Error(), "hunter2")
	require.Equal(t, fault.Internal, temporalfault.Unwrap(err).Kind)
	require.NoError(t, temporalfault.Wrap(nil))
	require.Nil(t, temporalfault.Unwrap(nil))
}
