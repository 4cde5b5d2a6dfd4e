package activities_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/activities"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
)

// TestChangeExpiry_AThousandRaces lets the transactions of a removal whose time has come and that of an extension meet: the
// service is kept by whoever was told so, and by nobody else.
func TestChangeExpiry_AThousandRaces(t *testing.T) {
	t.Parallel()
	const races, timers = 1000, 8
	results := make(chan string, races)
	var wg sync.WaitGroup
	for range timers {
		x := newTimer(t)
		wg.Go(func() {
			for range races / timers {
				results <- x.race()
			}
		})
	}
	wg.Wait()
	close(results)
	count := map[string]int{}
	for r := range results {
		count[r]++
	}
	t.Log(count)
	for _, r := range []string{"kept", "service_being_removed", "service_not_present"} {
		require.NotZero(t, count[r], r)
		delete(count, r)
	}
	require.Empty(t, count)
}

// race returns "kept", the code of the refusal, or what is wrong.
func (x *timer) race() string {
	over, later := time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	if err := x.setExpiry(&over); err != nil {
		return "begin: " + err.Error()
	}
	var wg sync.WaitGroup
	var broken, refused error
	wg.Go(func() { broken = x.expireAndRemove() })
	wg.Go(func() {
		time.Sleep(time.Duration(rand.IntN(12_000)) * time.Microsecond)
		refused = x.setExpiry(&later)
	})
	wg.Wait()
	there := len(x.services()) == 1
	switch f, _ := fault.As(refused); {
	case broken != nil:
		return broken.Error()
	case refused == nil && there:
		return "kept"
	case refused == nil:
		return "the end was moved and the service is gone"
	case there:
		return "the end was not moved and the service is there"
	default:
		x.addAgain()
		return f.Code
	}
}

// expireAndRemove does what the timer and the lane do.
func (x *timer) expireAndRemove() error {
	ctx := x.t.Context()
	x.now = time.Now()
	asked, err := x.Expire(ctx, activities.ExpireInput{Expiry: x.e})
	if err != nil || asked.Last == uuid.Nil {
		return err
	}
	begun, err := x.acts.Begin(ctx, activities.BeginInput{OperationID: asked.Last, RunID: "run"})
	if err != nil || begun.Outcome != activities.Begun {
		return err
	}
	return x.acts.Activate(ctx, activities.OperationInput{OperationID: asked.Last})
}

func (x *timer) addAgain() {
	at := time.Now().Add(time.Hour)
	add := x.accept(operation.AddService, x.e.DeckyID, "web-01", "ssh", operation.Request{Add: &operation.AddRequest{Service: "ssh", ExpiresAt: &at}})
	x.begin(add, "run")
	require.NoError(x.t, x.activate(add))
	x.e = decky.Expiry{ID: add.ID, Scope: "fleet", DeckyID: x.e.DeckyID, Decky: "web-01", Service: "ssh", At: at}
}
