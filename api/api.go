// Package api is the HTTP face of the control plane: Huma operations on a Gin router, authentication, problem details,
// health and metrics. It checks at the door and hands change requests to their lane; the lane is the authority.
//
// The invariant: nothing a client sent and no internal error text comes back in an answer, and no secret leaves it,
// whoever asks. Every failure has one shape, made by one function.
package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/decnet/decnet/db"
	"github.com/decnet/decnet/internal/auth"
	"github.com/decnet/decnet/internal/decky"
	"github.com/decnet/decnet/internal/imports"
	"github.com/decnet/decnet/internal/operation"
	"github.com/decnet/decnet/internal/topology"
)

// Prefix precedes the path of every operation of the API.
const Prefix = "/api/v1"

const (
	// maxBodyBytes bounds a request body.
	maxBodyBytes = 1 << 20
	// requestLimit bounds everything a request does; it leaves room after the longest wait for an operation.
	requestLimit = maxWait + 15*time.Second
	// authLimit bounds finding out who asks.
	authLimit = 5 * time.Second
)

// Dispatcher takes change requests; *dispatch.Dispatcher is one.
type Dispatcher interface {
	Accept(ctx context.Context, op operation.Operation, request operation.Request) (operation.Operation, error)
	Wait(ctx context.Context, id uuid.UUID, limit time.Duration) (operation.Operation, error)
	Cancel(ctx context.Context, id uuid.UUID) (operation.Operation, error)
	ChangeExpiry(ctx context.Context, op operation.Operation, at *time.Time, response any) error
	Record(ctx context.Context, op operation.Operation, change func(*db.Tx) (any, error)) (json.RawMessage, error)
	RequestHash(what string, body any) ([]byte, error)
	StartImport(ctx context.Context, im imports.Import)
}

// Deps is what the API works with. Store, Dispatcher, Key and Log are required.
type Deps struct {
	Store      *db.Store
	Dispatcher Dispatcher
	// Key is the installation key; the secret of access tokens is derived from it.
	Key []byte
	Log *slog.Logger
	// Metrics takes the collectors of the API and is what /metrics shows; nil means a registry of its own.
	Metrics *prometheus.Registry
	// Ready names the parts the process needs, each with nil or what is wrong with it; nil means always ready.
	Ready func(context.Context) map[string]error
	// Compose renders the compose file of a decky's scope with the decky as given; nil leaves it out of dry runs.
	Compose func(context.Context, decky.Decky) ([]byte, error)
	// ComposeTopology renders the compose file that a deploy of a pending topology would bring up; nil leaves it out.
	ComposeTopology func(context.Context, topology.Topology, topology.Graph) ([]byte, error)
	// Pool is where decky addresses come from; a wished address outside is refused at the door. Zero leaves that to the lane.
	Pool decky.Pool
	// ArtifactsRoot is where decoys keep recordings and captured files; "" means they are not to be had here.
	ArtifactsRoot string
	// RunRetention has a pass of retention begin now; nil means that none can.
	RunRetention func(context.Context) error
	// Events is where live events come from. Without it event streams hold a snapshot and signs of life only.
	Events EventLog
	// Stopping is closed when the process is about to end: event streams end then. Nil means never.
	Stopping <-chan struct{}
}

// Options is what may be configured.
type Options struct {
	// TokenLife is how long an access token lasts; 0 means 240 minutes.
	TokenLife time.Duration
	// LimiterEnabled turns the rate limits of logins and password changes on.
	LimiterEnabled bool
	// TemporalUIURL and TemporalNamespace make the links from operations to the Temporal Web UI; no link without the former.
	TemporalUIURL     string
	TemporalNamespace string
	// Version is the build's, shown by /status.
	Version string
	// SSEMaxPerUser bounds the event streams one user has open at a time, over all processes; 0 means 5.
	SSEMaxPerUser int
	// SSEKeepAlive is after how much silence an event stream gives a sign of life, and within which time it ends when its
	// reader may not read any more; 0 means 15 s.
	SSEKeepAlive time.Duration
	// ImportMaxBytes bounds the upload of one log to import; 0 means 2 GiB.
	ImportMaxBytes int64
}

// Both libraries keep these settings in package variables; nothing else in the process uses them.
func init() {
	gin.SetMode(gin.ReleaseMode)
	huma.ValidateStrictCasing = true // a field spelled in another case is an unknown field
	huma.NewError = func(status int, msg string, _ ...error) huma.StatusError {
		return &Problem{Status: status, Detail: msg}
	}
	huma.NewErrorWithContext = schemaProblem
}

type server struct {
	deps   Deps
	opts   Options
	signer *auth.Signer
	api    huma.API
	// endless holds the routes, as templates, whose answers have no end.
	endless map[string]bool
	// downloads holds the routes of lists, which can be asked for as a whole; downloading holds those that are.
	downloads   map[string]bool
	downloading chan struct{}
	// uploads holds the routes, as method and template, whose bodies are not read into memory and take as long as they take.
	uploads map[string]bool
	streams prometheus.Gauge
}

// New returns the router of the whole HTTP surface. It starts nothing; serving it and ending that is the caller's.
func New(deps Deps, opts Options) *gin.Engine {
	engine, _ := build(deps, opts)
	return engine
}

func build(deps Deps, opts Options) (*gin.Engine, *server) {
	if deps.Log == nil {
		deps.Log = slog.New(slog.DiscardHandler)
	}
	if deps.Metrics == nil {
		deps.Metrics = prometheus.NewRegistry()
	}
	s := &server{deps: deps, opts: opts, signer: auth.NewSigner(deps.Key, opts.TokenLife), endless: map[string]bool{}, downloads: map[string]bool{}, uploads: map[string]bool{}}
	s.downloading = make(chan struct{}, maxDownloads)
	engine := gin.New()
	if err := engine.SetTrustedProxies(nil); err != nil {
		panic(err) // none is always valid
	}
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash = false
	engine.Use(s.requestID, s.observe(newHTTPMetrics(deps.Metrics)), s.recoverPanic, securityHeaders, s.deadline)
	engine.NoRoute(func(c *gin.Context) { s.refuse(c, errNoRoute) })
	engine.NoMethod(func(c *gin.Context) { s.refuse(c, errNoMethod) })

	group := engine.Group(Prefix)
	s.api = humagin.NewWithGroup(engine, group, s.config())
	s.registerAuth()
	s.registerUsers()
	s.registerTokens()
	s.registerCatalog()
	s.registerDeckies()
	s.registerMutations()
	s.registerConfigs()
	s.registerRevisions()
	s.registerTopologies()
	s.registerOperations()
	s.registerEvents()
	s.registerAttackers()
	s.registerSessions()
	s.registerBounties()
	s.registerCredentials()
	s.registerReuse()
	s.registerArtifacts()
	s.registerIngest()
	s.registerStatus()
	s.registerRetention()
	s.registerStreams()
	s.registerImports()
	s.serveDocument(group)
	s.serveHealth(engine)
	return engine, s
}

// access says who may call an operation.
type access string

const (
	// open needs no credentials.
	open access = "open"
	// self needs an account, even one whose password must be changed first.
	self access = "self"

	viewer   = access(auth.Viewer)
	operator = access(auth.Operator)
	admin    = access(auth.Admin)
)

// middleware is a step on the way to an operation.
type middleware = func(ctx huma.Context, next func(huma.Context))

// register adds an operation. Its middlewares run once the body is read and before it is parsed.
func register[I, O any](s *server, who access, op huma.Operation, handle func(context.Context, *I) (*O, error)) {
	registerBehind(s, s.authenticate(who), who, op, handle)
}

// registerBehind is register with a way of its own to find out who asks.
func registerBehind[I, O any](
	s *server, door middleware, who access, op huma.Operation, handle func(context.Context, *I) (*O, error),
) {
	between := op.Middlewares
	load := s.loadBody
	if s.uploads[op.Method+" "+template(op.Path)] {
		load = s.streamBody
	}
	op.Middlewares = append(huma.Middlewares{door, load}, between...)
	if !s.uploads[op.Method+" "+template(op.Path)] {
		op.Middlewares = append(op.Middlewares, s.checkBody)
	}
	// The body is in memory by then. Huma would leave a read deadline on the connection that cancels long requests.
	op.BodyReadTimeout = -1
	op.MaxBodyBytes = maxBodyBytes + 1
	op.Extensions = map[string]any{"x-access": string(who)}
	if who == open {
		op.Security = []map[string][]string{}
	}
	s.documentErrors(&op)
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := handle(ctx, in)
		if err != nil {
			return nil, s.problem(ctx, err)
		}
		return out, nil
	})
}

// template returns the path of an operation as gin names its route.
func template(path string) string {
	return Prefix + strings.NewReplacer("{", ":", "}", "").Replace(path)
}

func get(id, path, summary, tag string) huma.Operation {
	return describe(http.MethodGet, id, path, summary, tag)
}

func describe(method, id, path, summary, tag string) huma.Operation {
	return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{tag}}
}
