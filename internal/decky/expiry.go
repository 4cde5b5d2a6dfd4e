package decky

import (
	"time"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
)

// MaxExpiry bounds how far in the future a temporary service may end.
const MaxExpiry = 366 * 24 * time.Hour

// CheckExpiry returns an Unprocessable fault (expiry_invalid) unless a service may be made to end at a time; nil is always
// right.
func CheckExpiry(at *time.Time, now time.Time) error {
	why := ""
	switch {
	case at == nil:
	case !at.After(now):
		why = "must be in the future"
	case at.Sub(now) > MaxExpiry:
		why = "must be within 366 days"
	}
	if why == "" {
		return nil
	}
	return fault.New(fault.Unprocessable, "expiry_invalid", "expires_at %s", why).
		With(fault.Field{Location: "body.expires_at", Message: why})
}

// Expiry is a service that is to be removed at a time.
type Expiry struct {
	ID      uuid.UUID `json:"id"`
	Scope   string    `json:"scope"`
	DeckyID uuid.UUID `json:"decky_id"`
	Decky   string    `json:"decky"`
	Service string    `json:"service"`
	At      time.Time `json:"at"`
}

// Expired returns services without one whose time is up. It is refused (superseded, a Conflict) when the service is gone,
// or when its end was changed since the wish with that id and time was made.
func Expired(services []Service, name string, id uuid.UUID, at time.Time) ([]Service, error) {
	i := Find(services, name)
	if i < 0 || services[i].ExpiresAt == nil || services[i].ExpiryID != id || !services[i].ExpiresAt.Equal(at) {
		return nil, fault.New(fault.Conflict, "superseded", "the service's end was changed meanwhile")
	}
	return RemoveService(services, name)
}
