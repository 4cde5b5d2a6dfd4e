package ingest

import "strings"

var scanners = wordSet("nmap masscan zgrab zmap nuclei sqlmap gobuster dirb dirbuster nikto feroxbuster wfuzz ffuf wpscan katana burp " +
	"acunetix nessus openvas arachni whatweb wappalyzer sploitscan")

var bots = []string{"bot", "crawler", "spider", "slurp", "monitor"}

var injections = []string{
	"<script", "';", "' or '", "' or 1", "1=1", "' --", "/../", "/etc/passwd", "${jndi:", "{{",
}

// agentPattern recognises a program by how its User-Agent begins; one that ends in no slash must end at a word's end. digit
// demands a digit after the prefix, anywhere looks for it in the whole text.
type agentPattern struct {
	prefix, tool    string
	digit, anywhere bool
}

var commandLineAgents = []agentPattern{
	{prefix: "curl/", tool: "curl"},
	{prefix: "Wget/", tool: "wget"},
	{prefix: "HTTPie/", tool: "httpie"},
	{prefix: "xh/", tool: "xh"},
	{prefix: "fetch/", tool: "fetch"},
}

var libraryAgents = []agentPattern{
	{prefix: "python-requests/", tool: "python-requests"},
	{prefix: "aiohttp/", tool: "aiohttp"},
	{prefix: "httpx/", tool: "httpx"},
	{prefix: "urllib/", tool: "urllib"},
	{prefix: "Python-urllib/", tool: "python-urllib"},
	{prefix: "Python/", tool: "python-stdlib", digit: true},
	{prefix: "Go-http-client/", tool: "go-stdlib"},
	{prefix: "go-resty/", tool: "go-resty"},
	{prefix: "Java/", tool: "java-stdlib", digit: true},
	{prefix: "okhttp/", tool: "okhttp"},
	{prefix: "Apache-HttpClient/", tool: "apache-httpclient"},
	{prefix: "Jersey/", tool: "jersey"},
	{prefix: "axios/", tool: "axios"},
	{prefix: "node-fetch/", tool: "node-fetch"},
	{prefix: "got", tool: "got"},
	{prefix: "undici", tool: "undici"},
	{prefix: "PHP/", tool: "php-stdlib", digit: true},
	{prefix: "GuzzleHttp/", tool: "guzzle", anywhere: true},
	{prefix: "Ruby", tool: "ruby-stdlib"},
	{prefix: "Faraday", tool: "faraday"},
	{prefix: "HTTParty", tool: "httparty"},
	{prefix: ".NET/", tool: "dotnet"},
	{prefix: "System.Net.Http", tool: "dotnet"},
	{prefix: "RestSharp/", tool: "dotnet"},
	{prefix: "PostmanRuntime/", tool: "postman"},
	{prefix: "Insomnia/", tool: "insomnia"},
}

func wordSet(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// agent is what a User-Agent tells. Tool is "" but for scanners, command-line programs and libraries.
type agent struct {
	category, tool string
	signals        []string
}

func classifyAgent(ua string) agent {
	a := agent{signals: agentSignals(ua)}
	lower := strings.ToLower(ua)
	switch {
	case ua == "":
		a.category = "empty"
	case assign(&a.tool, scannerIn(lower)):
		a.category = "scanner"
	case assign(&a.tool, toolOf(commandLineAgents, ua)):
		a.category = "cli"
	case assign(&a.tool, toolOf(libraryAgents, ua)):
		a.category = "library"
	case containsAny(lower, bots):
		a.category = "bot"
	case len(ua) > len("Mozilla/") && strings.HasPrefix(ua, "Mozilla/") && isDigit(ua[len("Mozilla/")]):
		a.category = "browser"
	default:
		a.category = "nonstandard"
	}
	return a
}

func assign(to *string, v string) bool {
	*to = v
	return v != ""
}

// scannerIn returns the first whole word that is the name of a scanner.
func scannerIn(lower string) string {
	for _, w := range strings.FieldsFunc(lower, func(r rune) bool { return r != '_' && (r > 0x7f || !isDigit(byte(r)) && !isLetter(byte(r))) }) {
		if scanners[w] {
			return w
		}
	}
	return ""
}

func toolOf(patterns []agentPattern, ua string) string {
	for _, p := range patterns {
		rest, ok := strings.CutPrefix(ua, p.prefix)
		switch {
		case p.anywhere:
			ok = strings.Contains(ua, p.prefix)
		case !ok:
		case p.digit:
			ok = rest != "" && isDigit(rest[0])
		case !strings.HasSuffix(p.prefix, "/"):
			ok = rest == "" || !isLetter(rest[0]) && !isDigit(rest[0])
		}
		if ok {
			return p.tool
		}
	}
	return ""
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// agentSignals returns signals in the sheet's order, nil if there are none. Lengths are in characters.
func agentSignals(ua string) []string {
	var out []string
	n := len([]rune(ua))
	if n < 8 {
		out = append(out, "suspicious_short")
	}
	if n > 512 {
		out = append(out, "suspicious_long")
	}
	if strings.ContainsFunc(ua, func(r rune) bool { return r < ' ' && r != '\t' }) {
		out = append(out, "nonprintable")
	}
	if containsAny(strings.ToLower(ua), injections) {
		out = append(out, "injection_like")
	}
	return out
}
