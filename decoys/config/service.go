package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The choices and defaults of the web server. The control plane's registry offers the same; a test there compares them.
const (
	HTTP1 = "http/1.1"
	HTTP2 = "http/2"
	HTTP3 = "http/3"

	DefaultResponseCode = 200
)

// FakeApps lists what the web server can pretend to host; `none` is the server alone.
func FakeApps() []string { return []string{"none", "wordpress", "phpmyadmin", "tomcat", "jenkins"} }

// HTTPVersions lists the protocol versions of the web server.
func HTTPVersions() []string { return []string{HTTP1, HTTP2} }

// HTTPSVersions lists the protocol versions of the web server on TLS.
func HTTPSVersions() []string { return []string{HTTP1, HTTP2, HTTP3} }

// HTTP is the service configuration of the http decoy. After DecodeHTTP no field with a default is empty.
type HTTP struct {
	ServerHeader string   `json:"server_header"`
	ResponseCode int      `json:"response_code"`
	FakeApp      string   `json:"fake_app"`
	ExtraHeaders string   `json:"extra_headers"`
	CustomBody   string   `json:"custom_body"`
	HTTPVersions []string `json:"http_versions"`
}

// HTTPS is the service configuration of the https decoy. TLSCert and TLSKey are PEM, both or neither; TLSName is the name in
// a certificate the decky makes for itself.
type HTTPS struct {
	HTTP
	TLSName string `json:"tls_cn"`
	TLSCert string `json:"tls_cert"`
	TLSKey  string `json:"tls_key"`
}

// Redis is the service configuration of the redis decoy; empty fields are made up from the decky's identity.
type Redis struct {
	Version  string `json:"version"`
	OSString string `json:"os_string"`
}

var versionPattern = regexp.MustCompile(`^[0-9]{1,3}(\.[0-9]{1,4}){1,3}$`)

// DecodeHTTP returns the service configuration of an http decoy with its defaults filled in.
func (c Config) DecodeHTTP() (HTTP, error) {
	var h HTTP
	if err := c.decodeService(&h); err != nil {
		return HTTP{}, err
	}
	h.fillIn()
	return h, h.validate(HTTPVersions())
}

// DecodeHTTPS returns the service configuration of an https decoy with its defaults filled in. That certificate and key belong
// together is left to who uses them.
func (c Config) DecodeHTTPS() (HTTPS, error) {
	var h HTTPS
	if err := c.decodeService(&h); err != nil {
		return HTTPS{}, err
	}
	h.fillIn()
	switch {
	case h.TLSName != "" && (!namePattern.MatchString(h.TLSName) || len(h.TLSName) > MaxTLSName):
		return HTTPS{}, errors.New("service_config: tls_cn is malformed")
	case (h.TLSCert == "") != (h.TLSKey == ""):
		return HTTPS{}, errors.New("service_config: tls_cert and tls_key must be given together")
	}
	return h, h.validate(HTTPSVersions())
}

// MaxTLSName is the longest common name of a certificate (RFC 5280, upper bound of a common name).
const MaxTLSName = 64

var namePattern = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$`)

func (h *HTTP) fillIn() {
	if h.ResponseCode == 0 {
		h.ResponseCode = DefaultResponseCode
	}
	if h.FakeApp == "" {
		h.FakeApp = "none"
	}
	if len(h.HTTPVersions) == 0 {
		h.HTTPVersions = []string{HTTP1}
	}
}

func (h HTTP) validate(versions []string) error {
	switch {
	case h.ResponseCode < 100 || h.ResponseCode > 599:
		return errors.New("service_config: response_code must be between 100 and 599")
	case !slices.Contains(FakeApps(), h.FakeApp):
		return errors.New("service_config: fake_app is unknown")
	case strings.ContainsFunc(h.ServerHeader, control):
		return errors.New("service_config: server_header is malformed")
	case slices.ContainsFunc(h.HTTPVersions, func(v string) bool { return !slices.Contains(versions, v) }):
		return errors.New("service_config: http_versions has an unknown version")
	}
	return nil
}

// DecodeRedis returns the service configuration of a redis decoy.
func (c Config) DecodeRedis() (Redis, error) {
	var r Redis
	if err := c.decodeService(&r); err != nil {
		return Redis{}, err
	}
	if r.Version != "" && !versionPattern.MatchString(r.Version) {
		return Redis{}, errors.New("service_config: version is malformed")
	}
	if strings.ContainsFunc(r.OSString, control) {
		return Redis{}, errors.New("service_config: os_string is malformed")
	}
	return r, nil
}

func control(r rune) bool { return r < 0x20 || r == 0x7f }

// decodeService decodes the service's own document; a missing one leaves the zero value.
func (c Config) decodeService(into any) error {
	if len(c.ServiceConfig) == 0 {
		return nil
	}
	if err := decodeStrict(c.ServiceConfig, into); err != nil {
		return fmt.Errorf("service_config: %w", err)
	}
	return nil
}
