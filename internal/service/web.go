package service

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"slices"
)

func http() Definition {
	return Definition{
		Name:   "http",
		Title:  "Web server",
		Ports:  []Port{{"tcp", 80}},
		Fields: webFields([]string{"http/1.1", "http/2"}, "http/2 is served in the clear: with prior knowledge and, next to http/1.1, through Upgrade."),
	}
}

func https() Definition {
	return Definition{
		Name:  "https",
		Title: "Web server (TLS)",
		Ports: []Port{{"tcp", 443}},
		PortsOf: func(c Config) []Port {
			if slices.Contains(texts(c["http_versions"]), "http/3") {
				return []Port{{"udp", 443}}
			}
			return nil
		},
		Check: checkCertificate,
		Fields: append(webFields([]string{"http/1.1", "http/2", "http/3"}, "http/3 adds UDP port 443 and is announced in Alt-Svc."), Field{
			Key: "tls_cn", Label: "Name in the certificate", Type: String, Placeholder: "the decky's own host name",
			Help:    "The common name of the certificate the decky makes for itself. Another name makes another certificate.",
			Pattern: hostPattern, PatternHelp: "a host name (RFC 1123)",
		}, Field{
			Key: "tls_cert", Label: "Certificate", Type: Textarea, Secret: true, Placeholder: "-----BEGIN CERTIFICATE-----",
			Help: "A certificate in PEM, with its chain, instead of a made one; tls_key must be given too.",
		}, Field{
			Key: "tls_key", Label: "Private key", Type: Textarea, Secret: true, Placeholder: "-----BEGIN PRIVATE KEY-----",
			Help: "The key of the certificate in PEM, without a password.",
		}),
	}
}

// webFields are the fields of a web server, whatever it is served over.
func webFields(versions []string, versionsHelp string) []Field {
	return []Field{
		{
			Key: "server_header", Label: "Server header", Type: String, Placeholder: "chosen per decky",
			Help:    "The value of the Server header. Error pages, header order and limits follow the server it names.",
			Pattern: headerPattern, PatternHelp: "printable ASCII of at most 200 characters",
		},
		{
			Key: "response_code", Label: "Status code", Type: Int, Default: int64(200), Min: 100, Max: 599,
			Help: "The status of the front page, the custom body or the application's pages. Other than 200, every path of a server without application answers it.",
		},
		{
			Key: "fake_app", Label: "Application", Type: Enum, Default: "none", Enum: []string{"none", "wordpress", "phpmyadmin", "tomcat", "jenkins"},
			Help: "The application whose pages and login are shown.",
		},
		{
			Key: "extra_headers", Label: "Further headers", Type: Textarea, Placeholder: `{"X-Frame-Options": "DENY"}`,
			Help: "A JSON object, or one `Name: value` per line. Server and Content-Type replace the decoy's own; framing headers are ignored.",
		},
		{
			Key: "custom_body", Label: "Custom body", Type: Textarea,
			Help: "Answered on every path instead of an application.",
		},
		{
			Key: "http_versions", Label: "Protocol versions", Type: MultiEnum, Default: []string{"http/1.1"}, Enum: versions,
			Help: versionsHelp,
		},
	}
}

// maxCommonName is the upper bound of a common name (RFC 5280, appendix A).
const maxCommonName = 64

// checkCertificate wants certificate and key together, readable and of one pair. Errors of the library may quote what they
// could not read, so none is passed on.
func checkCertificate(c Config) (key string, err error) {
	name, _ := c["tls_cn"].(string)
	chain, _ := c["tls_cert"].(string)
	private, _ := c["tls_key"].(string)
	switch {
	case len(name) > maxCommonName:
		return "tls_cn", errors.New("must have at most 64 characters")
	case chain == "" && private == "":
		return "", nil
	case chain == "":
		return "tls_cert", errors.New("must be given together with tls_key")
	case private == "":
		return "tls_key", errors.New("must be given together with tls_cert")
	case !holdsCertificate(chain):
		return "tls_cert", errors.New("must be a certificate in PEM")
	}
	if _, err := tls.X509KeyPair([]byte(chain), []byte(private)); err != nil {
		return "tls_key", errors.New("must be the private key of tls_cert in PEM, without a password")
	}
	return "", nil
}

func holdsCertificate(text string) bool {
	for rest := []byte(text); ; {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			return false
		}
		if b.Type == "CERTIFICATE" {
			_, err := x509.ParseCertificate(b.Bytes)
			return err == nil
		}
	}
}

// texts reads a list that may have been through JSON.
func texts(v any) []string {
	if list, ok := v.([]string); ok {
		return list
	}
	items, _ := v.([]any)
	var list []string
	for _, item := range items {
		if s, ok := item.(string); ok {
			list = append(list, s)
		}
	}
	return list
}
