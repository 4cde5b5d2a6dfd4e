package deckytest

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"
)

var slugs = []string{"ssh", "http", "redis"}

// Next returns a random change. It must be carried out, and Done called when its status is below 300, before the next.
func (m *Model) Next() Change {
	name := m.names[m.rnd.IntN(len(m.names))]
	l := m.present(name)
	if l == nil {
		return m.create(name)
	}
	slug := slugs[m.rnd.IntN(len(slugs))]
	path := "/deckies/" + name
	switch n := m.rnd.IntN(20); {
	case n == 0:
		return m.revise(l, Change{Method: http.MethodDelete, Path: path, Status: http.StatusOK}, nil, true)
	case n < 5:
		return m.add(l, path, slug)
	case n < 7:
		return m.remove(l, path, slug)
	case n < 11:
		return m.configure(l, path, slug, false)
	case n < 14:
		return m.configure(l, path, slug, true)
	case n < 17:
		return m.rollback(l, path)
	}
	return m.expire(l, path, slug)
}

func (m *Model) create(name string) Change {
	services, chosen := []service{}, []string{}
	configs := map[string]any{}
	for _, slug := range slugs {
		if m.rnd.IntN(2) == 0 {
			config := m.config(slug)
			services, chosen = append(services, service{name: slug, config: resolve(config, nil), revision: 1}), append(chosen, slug)
			configs[slug] = config
		}
	}
	c := Change{
		Method: http.MethodPost, Path: "/deckies", Status: http.StatusCreated,
		Body: map[string]any{"name": name, "services": chosen, "service_config": configs},
	}
	if m.fails() {
		c.Fails, c.Status = true, http.StatusBadGateway
		return c
	}
	c.commit = func(at time.Time, uuid string) {
		m.lives[name] = append(m.lives[name], &life{uuid: uuid, number: 1, revisions: []revision{{number: 1, services: services, from: at}}})
	}
	return c
}

func (m *Model) fails() bool { return m.failures && m.rnd.IntN(10) == 0 }

// revise returns a change that leads to a next revision, unless its decoys do not start: its number is used up then.
func (m *Model) revise(l *life, c Change, next []service, removed bool) Change {
	l.number++
	number := l.number
	if m.fails() {
		c.Fails, c.Status = true, http.StatusBadGateway
		return c
	}
	c.commit = func(at time.Time, _ string) {
		l.now().to = at
		if !removed {
			l.revisions = append(l.revisions, revision{number: number, services: next, from: at})
		}
	}
	return c
}

func refused(c Change, status int) Change {
	c.Status = status
	return c
}

func (m *Model) add(l *life, path, slug string) Change {
	config := m.config(slug)
	c := Change{Method: http.MethodPost, Path: path + "/services", Status: http.StatusCreated, Body: map[string]any{"name": slug, "config": config}}
	if l.find(slug) >= 0 {
		return refused(c, http.StatusConflict)
	}
	s := service{name: slug, config: resolve(config, nil), revision: l.number + 1}
	if m.rnd.IntN(3) == 0 {
		s.expires = m.end()
		c.Body["expires_at"] = s.expires
	}
	return m.revise(l, c, append(slices.Clone(l.now().services), s), false)
}

func (m *Model) remove(l *life, path, slug string) Change {
	c := Change{Method: http.MethodDelete, Path: path + "/services/" + slug, Status: http.StatusOK}
	i := l.find(slug)
	if i < 0 {
		return refused(c, http.StatusConflict)
	}
	return m.revise(l, c, slices.Delete(slices.Clone(l.now().services), i, i+1), false)
}

func (m *Model) configure(l *life, path, slug string, apply bool) Change {
	c := Change{Method: http.MethodPut, Path: path + "/services/" + slug + "/config", Status: http.StatusOK, Body: map[string]any{}}
	if apply {
		c.Method, c.Path, c.Status = http.MethodPost, path+"/services/"+slug+"/apply", http.StatusCreated
	}
	var submitted map[string]any
	if !apply || m.rnd.IntN(3) > 0 {
		submitted = m.config(slug)
		c.Body["config"] = submitted
	}
	i := l.find(slug)
	if i < 0 {
		return refused(c, http.StatusConflict)
	}
	next := slices.Clone(l.now().services)
	s := &next[i]
	latest := s.config
	if s.saved != nil {
		latest = s.saved
	}
	if submitted != nil {
		latest = resolve(submitted, latest)
	}
	switch {
	case apply:
		s.config, s.saved, s.revision = latest, nil, l.number+1
	case maps.Equal(latest, s.config):
		s.saved = nil
	default:
		s.saved = latest
	}
	return m.revise(l, c, next, false)
}

func (m *Model) rollback(l *life, path string) Change {
	number := 1 + m.rnd.IntN(l.number+1)
	c := Change{Method: http.MethodPost, Path: path + "/rollback", Status: http.StatusOK, Body: map[string]any{"revision": number}}
	i := slices.IndexFunc(l.revisions, func(r revision) bool { return r.number == number })
	if i < 0 {
		return refused(c, http.StatusNotFound)
	}
	var next []service
	for _, s := range l.revisions[i].services {
		changed := true
		if j := l.find(s.name); j >= 0 {
			have := l.now().services[j]
			s.expires = have.expires
			changed = !maps.Equal(s.config, have.config)
			s.revision = have.revision
		}
		if changed {
			s.revision = l.number + 1
		}
		next = append(next, s)
	}
	return m.revise(l, c, next, false)
}

// expire changes an end within the active revision.
func (m *Model) expire(l *life, path, slug string) Change {
	var at *time.Time
	if m.rnd.IntN(3) > 0 {
		at = m.end()
	}
	c := Change{Method: http.MethodPut, Path: path + "/services/" + slug + "/expiry", Status: http.StatusOK, Body: map[string]any{"expires_at": at}}
	i := l.find(slug)
	if i < 0 {
		return refused(c, http.StatusConflict)
	}
	c.commit = func(time.Time, string) {
		services := slices.Clone(l.now().services)
		services[i].expires = at
		l.now().services = services
	}
	return c
}

func (m *Model) end() *time.Time {
	at := m.ends.Add(time.Duration(m.rnd.IntN(1000)) * time.Second)
	return &at
}

// config returns a random configuration as it is submitted.
func (m *Model) config(slug string) map[string]any {
	choices := map[string]map[string][]any{
		"ssh":   {"password": {mask, "one", "two"}, "user": {"bob", "eve"}, "hostname": {"", nil, "edge"}},
		"http":  {"response_code": {float64(200), float64(404)}, "fake_app": {"none", "tomcat"}, "no_such_field": {"x"}},
		"redis": {"version": {"6.2.14", "7.0.1"}},
	}
	config := map[string]any{}
	for _, key := range slices.Sorted(maps.Keys(choices[slug])) {
		if values := choices[slug][key]; m.rnd.IntN(3) > 0 {
			config[key] = values[m.rnd.IntN(len(values))]
		}
	}
	return config
}

// resolve returns what is stored of a submitted configuration.
func resolve(submitted, current map[string]any) map[string]any {
	stored := map[string]any{}
	for key, value := range submitted {
		switch {
		case key == "no_such_field" || value == nil || value == "":
		case value == mask && slices.Contains(secrets, key):
			if have, ok := current[key]; ok {
				stored[key] = have
			}
		default:
			stored[key] = value
		}
	}
	return stored
}

func (c Change) String() string {
	return fmt.Sprintf("%s %s %v -> %d", c.Method, c.Path, c.Body, c.Status)
}
