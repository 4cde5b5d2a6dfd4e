package decky

import (
	"bytes"
	"encoding/json"
	"slices"
	"time"

	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/service"
)

// RestartNeeded reports whether a configuration is saved that the decoy does not have yet.
func (s Service) RestartNeeded() bool { return s.SavedConfig != nil }

// Latest returns the configuration a form starts from: the saved one, else the applied one.
func (s Service) Latest() service.Config {
	if s.SavedConfig != nil {
		return s.SavedConfig
	}
	return s.Config
}

// Temporary reports whether the service is to be removed at a time.
func (s Service) Temporary() bool { return s.ExpiresAt != nil }

// Configure returns the accepted form of a submitted configuration of a service that is on the decky; masks keep the values
// they stand for. A service that is not there is a Conflict (service_not_present), a bad value is Unprocessable.
func Configure(services []Service, name string, submitted map[string]any) (service.Config, error) {
	def, err := service.ForDecky(name)
	if err != nil {
		return nil, err
	}
	i := Find(services, name)
	if i < 0 {
		// The values are judged first: a bad one is bad on every decky.
		if _, err := def.Validate("body.config", service.Unmask(def, submitted, nil)); err != nil {
			return nil, err
		}
		return nil, notPresent()
	}
	return def.Validate("body.config", service.Unmask(def, submitted, services[i].Latest()))
}

// SaveConfig returns services with a configuration kept for the next apply; the decoys are not affected. Saving what is
// applied already forgets what was saved.
func SaveConfig(services []Service, name string, config service.Config) ([]Service, error) {
	i := Find(services, name)
	if i < 0 {
		return nil, notPresent()
	}
	next := slices.Clone(services)
	next[i].SavedConfig = config
	if Same(config, next[i].Config) {
		next[i].SavedConfig = nil
	}
	return next, nil
}

// ApplyConfig returns services with a configuration in force from the revision with the given number on: the decoy is
// made anew, with the same configuration too. One whose ports another service holds is a Conflict (port_in_use).
func ApplyConfig(services []Service, name string, config service.Config, number int) ([]Service, error) {
	i := Find(services, name)
	if i < 0 {
		return nil, notPresent()
	}
	next := slices.Clone(services)
	next[i].Config, next[i].SavedConfig, next[i].Revision = config, nil, number
	others := slices.Delete(slices.Clone(next), i, i+1)
	return next, checkPorts(others, next[i])
}

// Rollback returns the services of an earlier revision as the revision with the given number. Decoys that are the same in
// both stay as they are. A service that is there now keeps its present end; one that is not and whose time has passed is left
// out. A service that is not in the registry any more is Unprocessable (unknown_service).
func Rollback(current, earlier []Service, number int, now time.Time) ([]Service, error) {
	var next []Service
	for _, s := range earlier {
		i := Find(current, s.Name)
		if i >= 0 {
			s.ExpiresAt, s.ExpiryID = current[i].ExpiresAt, current[i].ExpiryID // the clock is not turned back
		} else if s.ExpiresAt != nil && !s.ExpiresAt.After(now) {
			continue
		}
		if _, err := service.ForDecky(s.Name); err != nil {
			return nil, err
		}
		if i >= 0 && Same(s.Config, current[i].Config) {
			s.Revision = current[i].Revision
		} else {
			s.Revision = number
		}
		next = append(next, s)
	}
	return next, nil
}

// SameServices reports whether two lists name the same services in the same order with the same configurations in force.
func SameServices(a, b []Service) bool {
	return slices.EqualFunc(a, b, func(x, y Service) bool { return x.Name == y.Name && Same(x.Config, y.Config) })
}

// Restamp returns services with the stamps of the decoys that stay as they are, and the given number for all others.
func Restamp(before, services []Service, number int) []Service {
	stamped := slices.Clone(services)
	for i, s := range stamped {
		stamped[i].Revision = number
		if j := Find(before, s.Name); j >= 0 && Same(before[j].Config, s.Config) {
			stamped[i].Revision = before[j].Revision
		}
	}
	return stamped
}

func notPresent() error {
	return fault.New(fault.Conflict, "service_not_present", "the service is not on the decky")
}

// Same reports whether two configurations say the same, whatever Go types their values have.
func Same(a, b service.Config) bool {
	x, errX := canonical(a)
	y, errY := canonical(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// canonical sorts keys and spells numbers alike: whole numbers are int64 before and float64 after a round trip.
func canonical(c service.Config) ([]byte, error) {
	if len(c) == 0 {
		return []byte("{}"), nil
	}
	return json.Marshal(c)
}
