// Package deckytest models what random changes do to deckies, for comparing it with what an installation says about the
// present and the past. It shares no code with what it checks.
package deckytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"reflect"
	"slices"
	"time"
)

const mask = "********"

// secrets are the fields that are shown masked.
var secrets = []string{"password", "user_password"}

// Change is a random request, and what must come of it.
type Change struct {
	Method string
	Path   string
	Body   map[string]any // nil for none
	Status int
	// Fails asks for decoys that do not start; the answer is 502 then.
	Fails bool

	commit func(at time.Time, uuid string)
}

// Service is one service in an answer.
type Service struct {
	Name          string         `json:"name"`
	Config        map[string]any `json:"config"`
	SavedConfig   map[string]any `json:"saved_config"`
	RestartNeeded bool           `json:"restart_needed"`
	ExpiresAt     *time.Time     `json:"expires_at"`
	Revision      int            `json:"revision"`
}

// Decky is what an answer says about a decky, as far as it is modelled.
type Decky struct {
	UUID     string    `json:"uuid"`
	Name     string    `json:"name"`
	Revision int       `json:"revision"`
	Services []Service `json:"services"`
}

type service struct {
	name          string
	config, saved map[string]any
	expires       *time.Time
	revision      int
}

type revision struct {
	number   int
	services []service
	from, to time.Time // to is zero while it is active
}

// life is one decky; a name may have several, one after the other.
type life struct {
	uuid      string
	number    int // the last that was used up
	revisions []revision
}

func (l *life) now() *revision { return &l.revisions[len(l.revisions)-1] }

func (l *life) find(name string) int {
	return slices.IndexFunc(l.now().services, func(s service) bool { return s.name == name })
}

// Model holds the deckies of some names. It is not safe for concurrent use.
type Model struct {
	rnd      *rand.Rand
	names    []string
	failures bool
	lives    map[string][]*life
	times    []time.Time
	ends     time.Time
}

// New returns a model of deckies that do not exist yet. Ends of services are set after ends. With failures some changes ask
// for decoys that do not start.
func New(rnd *rand.Rand, failures bool, ends time.Time, names ...string) *Model {
	return &Model{rnd: rnd, names: names, failures: failures, ends: ends.UTC().Truncate(time.Microsecond), lives: map[string][]*life{}}
}

// Names returns the names of the deckies that exist.
func (m *Model) Names() (present []string) {
	for _, name := range m.names {
		if m.present(name) != nil {
			present = append(present, name)
		}
	}
	return present
}

func (m *Model) present(name string) *life {
	if all := m.lives[name]; len(all) > 0 && all[len(all)-1].now().to.IsZero() {
		return all[len(all)-1]
	}
	return nil
}

// Plain returns the configurations of a decky that exists, secrets included, by service.
func (m *Model) Plain(name string) map[string]map[string]any {
	plain := map[string]map[string]any{}
	for _, s := range m.present(name).now().services {
		plain[s.name] = s.config
	}
	return plain
}

// Times returns when something changed, in order.
func (m *Model) Times() []time.Time { return m.times }

// At returns the decky of a name at an instant; ok is false when there was none.
func (m *Model) At(name string, at time.Time) (Decky, bool) {
	for _, l := range m.lives[name] {
		for _, r := range l.revisions {
			if !at.Before(r.from) && (r.to.IsZero() || at.Before(r.to)) {
				d := Decky{UUID: l.uuid, Name: name, Revision: r.number, Services: []Service{}}
				for _, s := range r.services {
					d.Services = append(d.Services, Service{
						Name: s.name, Config: shown(s.config), SavedConfig: shown(s.saved), RestartNeeded: s.saved != nil,
						ExpiresAt: s.expires, Revision: s.revision,
					})
				}
				return d, true
			}
		}
	}
	return Decky{}, false
}

func shown(config map[string]any) map[string]any {
	if config == nil {
		return nil
	}
	view := maps.Clone(config)
	for _, key := range secrets {
		if _, ok := view[key]; ok {
			view[key] = mask
		}
	}
	return view
}

// Check compares the answer to a question about the past with the model.
func (m *Model) Check(name string, at time.Time, status int, body []byte) error {
	want, ok := m.At(name, at)
	if !ok {
		if status != http.StatusNotFound {
			return fmt.Errorf("%s at %s: status %d, there was none", name, at.Format(time.RFC3339Nano), status)
		}
		return nil
	}
	var got Decky
	if err := json.Unmarshal(body, &got); err != nil || status != http.StatusOK {
		return fmt.Errorf("%s at %s: status %d: %s", name, at.Format(time.RFC3339Nano), status, body)
	}
	a, errA := json.Marshal(want)
	b, errB := json.Marshal(got)
	if errA != nil || errB != nil || !reflect.DeepEqual(a, b) {
		return fmt.Errorf("%s at %s:\nwant %s\ngot  %s", name, at.Format(time.RFC3339Nano), a, b)
	}
	return nil
}

// Done takes the outcome of a change over. at is the instant in which it became true, uuid the decky's if it was created.
func (m *Model) Done(c Change, at time.Time, uuid string) {
	if c.commit != nil {
		c.commit(at.UTC(), uuid)
		m.times = append(m.times, at.UTC())
	}
}
