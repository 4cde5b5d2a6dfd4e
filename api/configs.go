package api

import (
	"context"
	"net/http"
	"time"

	"github.com/aymanbagabas/go-udiff"
	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/fault"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/service"
)

// ServiceConfigBody is a service's configuration after a change.
type ServiceConfigBody struct {
	DeckyName     string         `json:"decky_name"`
	ServiceName   string         `json:"service_name"`
	TopologyID    *string        `json:"topology_id"`
	Config        map[string]any `json:"config" nullable:"false" doc:"As saved or applied; secrets are masked"`
	Recreated     bool           `json:"recreated" doc:"The decoy was made anew with it"`
	RestartNeeded bool           `json:"restart_needed" doc:"It is saved, and the decoy has another"`
}

// DryRunBody says what a change of a configuration would do. Nothing was changed.
type DryRunBody struct {
	ServiceConfigBody
	DryRun      bool         `json:"dry_run"`
	ConfigDiff  []ConfigDiff `json:"config_diff" nullable:"false" doc:"The fields that would change, by key"`
	ComposeDiff string       `json:"compose_diff" doc:"Unified diff of the scope's compose file; empty when it would stay"`
}

// ConfigDiff is one field that would change; null is the default. Secrets are masked, also in what differs.
type ConfigDiff struct {
	Key    string `json:"key"`
	Before any    `json:"before"`
	After  any    `json:"after"`
	Secret bool   `json:"secret"`
}

// ServiceExpiryBody is when a service is removed.
type ServiceExpiryBody struct {
	DeckyName   string     `json:"decky_name"`
	ServiceName string     `json:"service_name"`
	TopologyID  *string    `json:"topology_id"`
	ExpiresAt   *time.Time `json:"expires_at"`
}

type configInput struct {
	MutationInput
	DeckyPath
	ServicePath
	DryRunQuery
	Body *configBody
}

// config returns the body, an empty one when there was none.
func (in *configInput) config() configBody {
	if in.Body == nil {
		return configBody{}
	}
	return *in.Body
}

// DryRunQuery asks for what a change would do, instead of the change.
type DryRunQuery struct {
	DryRun bool `query:"dry_run" doc:"Change nothing and answer with the differences"`
}

type configBody struct {
	Config map[string]any `json:"config,omitempty" doc:"The whole configuration: what is left out has its default. The mask of a secret keeps its value"`
}

type expiryInput struct {
	MutationInput
	DeckyPath
	ServicePath
	Body expiryBody
}

type expiryBody struct {
	ExpiresAt *time.Time `json:"expires_at" nullable:"true" doc:"When the service is removed; null for never"`
}

func (s *server) registerConfigs() {
	register(s, operator, s.mutation(http.StatusOK, http.MethodPut, "save-service-config", "/deckies/{decky}/services/{service}/config",
		"Save a configuration for the next apply", ServiceConfigBody{}), s.saveConfig)
	register(s, operator, s.mutation(http.StatusCreated, http.MethodPost, "apply-service-config", "/deckies/{decky}/services/{service}/apply",
		"Make a service anew with a configuration, the saved one when none is given", ServiceConfigBody{}), s.applyConfig)
	register(s, operator, s.mutation(http.StatusOK, http.MethodPut, "set-service-expiry", "/deckies/{decky}/services/{service}/expiry",
		"Set when a service is removed", ServiceExpiryBody{}), s.setExpiry)
}

func (s *server) saveConfig(ctx context.Context, in *configInput) (*mutationOutput, error) {
	return s.configureAt(ctx, in.MutationInput, fleet(in.Decky), in.Service, operation.SaveConfig, in.config(), in.DryRun)
}

func (s *server) applyConfig(ctx context.Context, in *configInput) (*mutationOutput, error) {
	return s.configureAt(ctx, in.MutationInput, fleet(in.Decky), in.Service, operation.ApplyConfig, in.config(), in.DryRun)
}

// configureAt saves or applies a configuration, or says what that would do. Without a configuration save clears, and apply
// takes the one that is saved.
func (s *server) configureAt(
	ctx context.Context, in MutationInput, at place, name string, kind operation.Kind, body configBody, dryRun bool,
) (*mutationOutput, error) {
	if kind == operation.SaveConfig && body.Config == nil {
		body.Config = map[string]any{}
	}
	if dryRun {
		return s.dryRun(ctx, at, name, kind, body)
	}
	return s.mutate(ctx, in, at.what(string(kind))+" "+name, body, func(ctx context.Context) (change, error) {
		if err := checkConfig(name, body.Config); err != nil {
			return change{}, err
		}
		c := change{
			op:      operation.Operation{Kind: kind, Service: name},
			request: operation.Request{Configure: &operation.ConfigureRequest{Service: name, Config: body.Config}},
		}
		err := s.atDecky(ctx, at, &c, func(d decky.Decky) error {
			_, err := configured(d, name, kind, body)
			return err
		})
		return c, err
	})
}

// checkConfig refuses values that are bad whatever the decky has.
func checkConfig(name string, submitted map[string]any) error {
	definition, err := service.ForDecky(name)
	if err != nil {
		return fault.From(err).With(fault.Field{Location: "path.service", Message: fault.From(err).Message})
	}
	_, err = definition.Validate("body.config", service.Unmask(definition, submitted, nil))
	return err
}

// configured returns the services of a decky as the change would leave them.
func configured(d decky.Decky, name string, kind operation.Kind, body configBody) ([]decky.Service, error) {
	i := decky.Find(d.Services, name)
	var config service.Config
	var err error
	if body.Config == nil && i >= 0 {
		config = d.Services[i].Latest()
	} else if config, err = decky.Configure(d.Services, name, body.Config); err != nil {
		return nil, err
	}
	if kind == operation.SaveConfig {
		return decky.SaveConfig(d.Services, name, config)
	}
	return decky.ApplyConfig(d.Services, name, config, d.Revision+1)
}

func (s *server) dryRun(ctx context.Context, at place, name string, kind operation.Kind, body configBody) (*mutationOutput, error) {
	if err := checkConfig(name, body.Config); err != nil {
		return nil, err
	}
	d, err := s.deps.Store.DeckyByName(ctx, at.scope, at.name)
	if err == nil && d.Removed {
		err = decky.NotFound()
	}
	if err != nil {
		return nil, err
	}
	next, err := configured(d, name, kind, body)
	if err != nil {
		return nil, err
	}
	i := decky.Find(next, name)
	out := DryRunBody{DryRun: true, ServiceConfigBody: ServiceConfigBody{
		DeckyName: d.Name, ServiceName: name, TopologyID: decky.TopologyOf(d.Scope), Config: service.Masked(name, next[i].Latest()),
		Recreated: kind == operation.ApplyConfig, RestartNeeded: next[i].RestartNeeded(),
	}}
	out.ConfigDiff = configDiff(name, d.Services[i].Config, next[i].Latest())
	after := d
	after.Services = next
	out.ComposeDiff, err = s.composeDiff(ctx, d, after)
	return &mutationOutput{Status: http.StatusOK, Body: out}, err
}

// configDiff lists the fields whose values differ.
func configDiff(name string, before, after service.Config) []ConfigDiff {
	definition, _ := service.Lookup(name)
	diff := []ConfigDiff{}
	shownBefore, shownAfter := definition.Masked(before), definition.Masked(after)
	for _, f := range definition.Fields {
		if !decky.Same(only(before, f.Key), only(after, f.Key)) {
			diff = append(diff, ConfigDiff{Key: f.Key, Before: shownBefore[f.Key], After: shownAfter[f.Key], Secret: f.Secret})
		}
	}
	return diff
}

func only(c service.Config, key string) service.Config {
	if v, ok := c[key]; ok {
		return service.Config{key: v}
	}
	return nil
}

// composeDiff compares the compose file of the decky's scope with what it would be. The file has no configuration in it.
func (s *server) composeDiff(ctx context.Context, before, after decky.Decky) (string, error) {
	if s.deps.Compose == nil {
		return "", nil
	}
	old, err := s.deps.Compose(ctx, before)
	if err != nil {
		return "", err
	}
	rendered, err := s.deps.Compose(ctx, after)
	if err != nil {
		return "", err
	}
	return udiff.Unified("compose.yaml", "compose.yaml", string(old), string(rendered)), nil
}

func (s *server) setExpiry(ctx context.Context, in *expiryInput) (*mutationOutput, error) {
	return s.setExpiryAt(ctx, in.MutationInput, fleet(in.Decky), in.Service, in.Body)
}

// setExpiryAt changes when a service ends. It does not wait for the decky's lane: a removal that has not begun is dropped
// when its turn comes.
func (s *server) setExpiryAt(ctx context.Context, in MutationInput, at place, name string, body expiryBody) (*mutationOutput, error) {
	actor, what := principalOf(ctx).actor, at.what("set_expiry")+" "+name
	hash, err := s.deps.Dispatcher.RequestHash(what, body)
	if err != nil {
		return nil, err
	}
	earlier, found, err := s.earlier(ctx, actor, in.IdempotencyKey, hash)
	if err != nil {
		return nil, err
	}
	if found {
		return s.conclude(ctx, earlier, 0)
	}
	until := stored(body.ExpiresAt)
	if err := decky.CheckExpiry(until, time.Now()); err != nil {
		return nil, err
	}
	op := operation.Operation{
		ID: uuid.Must(uuid.NewV7()), Scope: at.scope, Lane: operation.WholeScope, Kind: operation.SetExpiry, Actor: actor,
		IdempotencyKey: in.IdempotencyKey, RequestHash: hash, Decky: at.name, Service: name,
	}
	out, err := s.changeExpiry(ctx, at, &op, until)
	if err == nil {
		return &mutationOutput{Status: http.StatusOK, Operation: op.ID.String(), Body: out}, nil
	}
	if !recorded(err) {
		return nil, err
	}
	safe := fault.From(err).Safe()
	op.State, op.Fault = operation.Refused, &safe
	return s.submit(ctx, change{op: op}, in)
}

func (s *server) changeExpiry(ctx context.Context, at place, op *operation.Operation, until *time.Time) (ServiceExpiryBody, error) {
	d, err := s.deps.Store.DeckyByName(ctx, at.scope, at.name)
	if err == nil && d.Removed {
		err = decky.NotFound()
	}
	if err != nil {
		return ServiceExpiryBody{}, err
	}
	op.DeckyID, op.Lane = d.ID, d.ID.String()
	out := ServiceExpiryBody{DeckyName: d.Name, ServiceName: op.Service, TopologyID: decky.TopologyOf(d.Scope), ExpiresAt: until}
	return out, s.deps.Dispatcher.ChangeExpiry(ctx, *op, until, out)
}
