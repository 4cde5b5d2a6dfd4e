package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
)

// documentVersion is the version of the API, not of the build: the document changes only with the API.
const documentVersion = "1"

// OpenAPI returns the OpenAPI 3.1 document of the API as YAML. It is the same for every build of the same source.
func OpenAPI() ([]byte, error) {
	_, s := build(Deps{}, Options{})
	return s.api.OpenAPI().YAML()
}

func (s *server) config() huma.Config {
	format := huma.Format{Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: json.Unmarshal}
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "decnet", Version: documentVersion,
				Description: "Control plane of a deception network. x-access tells who may call an operation: a role (each may " +
					"what the weaker ones may: viewer, operator, admin), self (any account) or open.",
			},
			Servers: []*huma.Server{{URL: Prefix}},
			Components: &huma.Components{
				Schemas: huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{
					"bearer": {Type: "http", Scheme: "bearer", Description: "An access token of /auth/login, or an API token"},
					"ticket": {Type: "apiKey", In: "query", Name: "ticket", Description: "A ticket of /auth/sse-ticket"},
				},
			},
			Security: []map[string][]string{{"bearer": {}}},
		},
		// The one format has a second name under which Huma looks for that of problems.
		Formats:       map[string]huma.Format{"application/json": format, problemType: format},
		DefaultFormat: "application/json",
	}
}

// documentErrors says in the document that every failure is a Problem.
func (s *server) documentErrors(op *huma.Operation) {
	if op.Responses == nil {
		op.Responses = map[string]*huma.Response{}
	}
	schema := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	op.Responses["default"] = &huma.Response{
		Description: "Failure", Content: map[string]*huma.MediaType{problemType: {Schema: schema}},
	}
}

// serveDocument offers the document to whoever can reach the API.
func (s *server) serveDocument(group *gin.RouterGroup) {
	yaml, err := s.api.OpenAPI().YAML()
	if err != nil {
		panic(fmt.Sprintf("encode the OpenAPI document: %v", err)) // a bug in the routes
	}
	asJSON, err := json.Marshal(s.api.OpenAPI())
	if err != nil {
		panic(fmt.Sprintf("encode the OpenAPI document: %v", err))
	}
	group.GET("/openapi.yaml", func(c *gin.Context) { c.Data(http.StatusOK, "application/openapi+yaml", yaml) })
	group.GET("/openapi.json", func(c *gin.Context) { c.Data(http.StatusOK, "application/openapi+json", asJSON) })
}
