package api

import (
	"context"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
	"github.com/decnet/decnet/internal/topology"
)

// DeckyServicesBody is the answer to a change of a decky's services.
type DeckyServicesBody struct {
	DeckyName  string   `json:"decky_name"`
	TopologyID *string  `json:"topology_id"`
	Services   []string `json:"services" nullable:"false" doc:"The slugs after the change"`
}

type createDeckyInput struct {
	MutationInput
	Body createDeckyBody
}

// createDeckyBody is hashed for idempotency: an absent services differs from an empty one.
type createDeckyBody struct {
	Name          string                    `json:"name" minLength:"1" maxLength:"63"`
	Archetype     string                    `json:"archetype,omitempty" maxLength:"64"`
	Distro        string                    `json:"distro,omitempty" maxLength:"64"`
	Services      []string                  `json:"services" required:"false" maxItems:"64" doc:"The archetype's when absent"`
	ServiceConfig map[string]map[string]any `json:"service_config,omitempty"`
	IP            string                    `json:"ip,omitempty" maxLength:"64"`
	NmapOS        string                    `json:"nmap_os,omitempty" maxLength:"64"`
	Hostname      string                    `json:"hostname,omitempty" maxLength:"253"`
}

type deckyChangeInput struct {
	MutationInput
	DeckyPath
}

type addServiceInput struct {
	MutationInput
	DeckyPath
	Body addServiceBody
}

type addServiceBody struct {
	Name   string         `json:"name" minLength:"1" maxLength:"64"`
	Config map[string]any `json:"config,omitempty"`
	// A temporary service is removed at this time by an operation of the actor "expiry".
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"When the service is removed again; within 366 days"`
}

// ServicePath is the service in a path; it need not be one of the registry.
type ServicePath struct {
	Service string `path:"service" pattern:"^[a-z0-9_-]{1,64}$"`
}

type removeServiceInput struct {
	MutationInput
	DeckyPath
	ServicePath
}

func (s *server) registerMutations() {
	register(s, admin, s.mutation(http.StatusCreated, http.MethodPost, "create-decky", "/deckies", "Create a decky", DeckyBody{}), s.createDecky)
	register(s, admin, s.mutation(http.StatusOK, http.MethodDelete, "delete-decky", "/deckies/{decky}", "Delete a decky", DeckyServicesBody{}), s.deleteDecky)
	register(s, operator, s.mutation(http.StatusOK, http.MethodPost, "unquarantine-decky", "/deckies/{decky}/unquarantine",
		"Repair a decky that was given up", DeckyServicesBody{}), s.unquarantine)
	register(s, operator, s.mutation(http.StatusCreated, http.MethodPost, "add-service", "/deckies/{decky}/services",
		"Add a service to a decky", DeckyServicesBody{}), s.addService)
	register(s, operator, s.mutation(http.StatusOK, http.MethodDelete, "remove-service", "/deckies/{decky}/services/{service}",
		"Remove a service from a decky", DeckyServicesBody{}), s.removeService)
}

func (s *server) unquarantine(ctx context.Context, in *deckyChangeInput) (*mutationOutput, error) {
	return s.mutate(ctx, in.MutationInput, "unquarantine "+in.Decky, nil, func(ctx context.Context) (change, error) {
		c := change{op: operation.Operation{Kind: operation.Reconcile}}
		err := s.atDecky(ctx, fleet(in.Decky), &c, func(d decky.Decky) error {
			if d.State != decky.Quarantined {
				return fault.New(fault.Conflict, "decky_not_quarantined", "the decky is not quarantined")
			}
			return nil
		})
		return c, err
	})
}

// place is where a request finds its decky.
type place struct{ scope, name string }

func fleet(name string) place { return place{scope: decky.FleetScope, name: name} }

// mutation describes an operation that answers with a resource when it ended in time and with 202 otherwise.
func (s *server) mutation(status int, method, id, path, summary string, resource any) huma.Operation {
	tag := "deckies"
	if strings.HasPrefix(path, "/topologies") {
		tag = tagTopologies
	}
	op := describe(method, id, path, summary, tag)
	op.Middlewares = huma.Middlewares{s.checkKey}
	op.DefaultStatus = status
	schemas := s.api.OpenAPI().Components.Schemas
	content := func(v any) map[string]*huma.MediaType {
		t := reflect.TypeOf(v)
		return map[string]*huma.MediaType{"application/json": {Schema: schemas.Schema(t, true, t.Name())}}
	}
	op.Responses = map[string]*huma.Response{
		strconv.Itoa(http.StatusAccepted): {
			Description: "Not finished yet: follow Location", Content: content(AcceptedBody{}),
		},
	}
	done := &huma.Response{Description: "Done"}
	if resource != nil {
		done.Content = content(resource)
	}
	op.Responses[strconv.Itoa(op.DefaultStatus)] = done
	return op
}

// change is a request that passed the door.
type change struct {
	op      operation.Operation
	request operation.Request
	// async: the answer is that the request was accepted, whatever becomes of it in the next moment.
	async bool
}

// rnd chooses what a create request leaves open; the choice is no secret.
func rnd() *rand.Rand {
	return rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())) //nolint:gosec // see above
}

func (s *server) createDecky(ctx context.Context, in *createDeckyInput) (*mutationOutput, error) {
	return s.mutate(ctx, in.MutationInput, "create_decky", in.Body, func(ctx context.Context) (change, error) {
		spec, err := s.spec(in.Body)
		if err != nil {
			return change{}, err
		}
		id := uuid.New()
		c := change{
			op:      operation.Operation{Lane: id.String(), Kind: operation.CreateDecky, DeckyID: id, Decky: spec.Name},
			request: operation.Request{Create: &spec},
		}
		_, err = s.deps.Store.DeckyByName(ctx, decky.FleetScope, spec.Name)
		switch {
		case fault.KindOf(err) == fault.NotFound:
			return c, nil
		case err == nil:
			err = fault.New(fault.Conflict, "decky_exists", "a decky of that name exists")
			c.op.DeckyID = uuid.Nil // there will be none
		}
		return c, err
	})
}

func (s *server) spec(body createDeckyBody) (decky.Spec, error) {
	spec := decky.Spec{
		Name: body.Name, Archetype: body.Archetype, Distro: body.Distro, Services: body.Services, IP: body.IP,
		NmapOS: body.NmapOS, Hostname: body.Hostname, Configs: make(map[string]service.Config, len(body.ServiceConfig)),
	}
	for name, config := range body.ServiceConfig {
		spec.Configs[name] = config
	}
	spec, err := spec.Complete(rnd())
	if err == nil && spec.IP != "" && s.deps.Pool.Prefix.IsValid() {
		_, err = s.deps.Pool.Check(spec.IP)
	}
	return spec, err
}

func (s *server) deleteDecky(ctx context.Context, in *deckyChangeInput) (*mutationOutput, error) {
	return s.mutate(ctx, in.MutationInput, "delete_decky "+in.Decky, nil, func(ctx context.Context) (change, error) {
		c := change{op: operation.Operation{Kind: operation.DeleteDecky}}
		err := s.atDecky(ctx, fleet(in.Decky), &c, func(decky.Decky) error { return nil })
		return c, err
	})
}

func (s *server) addService(ctx context.Context, in *addServiceInput) (*mutationOutput, error) {
	return s.addServiceAt(ctx, in.MutationInput, fleet(in.Decky), in.Body)
}

func (s *server) addServiceAt(ctx context.Context, in MutationInput, at place, body addServiceBody) (*mutationOutput, error) {
	return s.mutate(ctx, in, at.what("add_service"), body, func(ctx context.Context) (change, error) {
		definition, err := service.ForDecky(body.Name)
		if err != nil {
			return change{}, fault.From(err).With(fault.Field{Location: "body.name", Message: fault.From(err).Message})
		}
		config, err := definition.Validate("body.config", service.Unmask(definition, body.Config, nil))
		if err == nil {
			err = decky.CheckExpiry(body.ExpiresAt, time.Now())
		}
		if err != nil {
			return change{}, err
		}
		c := change{
			op:      operation.Operation{Kind: operation.AddService, Service: body.Name},
			request: operation.Request{Add: &operation.AddRequest{Service: body.Name, Config: config, ExpiresAt: stored(body.ExpiresAt)}},
		}
		err = s.atDecky(ctx, at, &c, func(d decky.Decky) error {
			_, err := decky.AddService(d.Services, decky.Service{Name: body.Name, Config: config})
			return err
		})
		return c, err
	})
}

func (s *server) removeService(ctx context.Context, in *removeServiceInput) (*mutationOutput, error) {
	return s.removeServiceAt(ctx, in.MutationInput, fleet(in.Decky), in.Service)
}

func (s *server) removeServiceAt(ctx context.Context, in MutationInput, at place, name string) (*mutationOutput, error) {
	return s.mutate(ctx, in, at.what("remove_service")+" "+name, nil, func(ctx context.Context) (change, error) {
		c := change{
			op:      operation.Operation{Kind: operation.RemoveService, Service: name},
			request: operation.Request{Remove: name},
		}
		err := s.atDecky(ctx, at, &c, func(d decky.Decky) error {
			_, err := decky.RemoveService(d.Services, name)
			return err
		})
		return c, err
	})
}

// what names a change of the decky there, for the hash of its request.
func (p place) what(kind string) string {
	if p.scope == decky.FleetScope {
		return kind + " " + p.name
	}
	return kind + " " + p.scope + " " + p.name
}

// stored cuts a time to what the database keeps of it.
func stored(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	cut := t.UTC().Truncate(time.Microsecond)
	return &cut
}

// atDecky points a change at an existing decky and its lane. While the lane is idle, check decides; while something is
// open there, what the decky will be like at the request's turn is not known here.
func (s *server) atDecky(ctx context.Context, at place, c *change, check func(decky.Decky) error) error {
	c.op.Scope, c.op.Decky, c.op.Lane = at.scope, at.name, operation.WholeScope // where a refusal is filed that concerns no decky
	if err := s.admits(ctx, at.scope); err != nil {
		return err
	}
	d, err := s.deps.Store.DeckyByName(ctx, at.scope, at.name)
	if err != nil {
		return err
	}
	c.op.DeckyID, c.op.Lane = d.ID, d.ID.String()
	busy, err := s.deps.Store.LaneBusy(ctx, at.scope, c.op.Lane)
	if err != nil || busy {
		return err
	}
	// Read again: an operation may have ended in between.
	if d, err = s.deps.Store.DeckyByName(ctx, at.scope, at.name); err != nil {
		return err
	}
	if d.Removed { // its creation never succeeded
		return decky.NotFound()
	}
	return check(d)
}

// admits refuses changes of deckies of a topology that is not there, or neither is a plan nor runs.
func (s *server) admits(ctx context.Context, scope string) error {
	if scope == decky.FleetScope {
		return nil
	}
	id, _ := topology.IDFromScope(scope)
	t, err := s.deps.Store.Topology(ctx, id)
	if err == nil && !t.Status.Editable() && !t.Status.Live() {
		err = t.Status.Refused("changed")
	}
	return err
}
