package http

import (
	"encoding/base64"
	"html"
	"net/url"
	"strings"

	"github.com/decnet/decnet/decoys/identity"
)

// jenkins is a Jenkins that shows nothing before a login, and lets nobody in.
type jenkins struct {
	base
	version, session, asset, key, cookie string
}

func newJenkins(b base) *jenkins {
	j := &jenkins{base: b}
	j.version = identity.PickWeighted(b.id, "jenkins-version", []identity.Weighted[string]{
		{Value: "2.361.4", Weight: 1},
		{Value: "2.375.3", Weight: 2},
		{Value: "2.387.3", Weight: 2},
		{Value: "2.401.3", Weight: 3},
		{Value: "2.414.3", Weight: 3},
		{Value: "2.426.1", Weight: 2},
		{Value: "2.426.2", Weight: 2},
		{Value: "2.440.3", Weight: 1},
	})
	j.session, j.asset, j.cookie = b.id.Hex(4, "jenkins-session"), b.id.Hex(4, "jenkins-asset"), "JSESSIONID."+b.id.Hex(4, "jenkins-cookie")
	// An RSA public key of 2048 bits: its fixed beginning and end around seeded bytes.
	der := append([]byte{0x30, 0x82, 0x01, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x01, 0x0f, 0x00, 0x30, 0x82, 0x01, 0x0a, 0x02, 0x82, 0x01, 0x01, 0x00, 0x80 | b.id.Bytes(1, "jenkins-key")[0]}, b.id.Bytes(255, "jenkins-modulus")...)
	j.key = base64.StdEncoding.EncodeToString(append(der, 0x02, 0x03, 0x01, 0x00, 0x01))
	static := "/static/" + j.asset
	j.add(static+"/jsbundles/simple-page.css", "body{margin:0;font-family:system-ui,sans-serif}.app-sign-in-register{display:flex}\n")
	j.add(static+"/css/style.css", ":root{--primary:#0b6aa2}\n")
	j.add(static+"/scripts/redirect.js", "window.location.replace(document.currentScript.dataset.redirectUrl);\n")
	j.add(static+"/images/svgs/logo.svg", "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"226\" height=\"312\"></svg>\n")
	j.add("/robots.txt", "# we don't want robots to click \"build\" links\nUser-agent: *\nDisallow: /\n")
	return j
}

func (j *jenkins) headers() []header {
	return []header{
		{"X-Content-Type-Options", "nosniff"}, {"X-Hudson", "1.395"}, {"X-Jenkins", j.version}, {"X-Jenkins-Session", j.session},
	}
}

func (j *jenkins) answer(r *request) *response {
	if f := j.file(r); f != nil {
		return f
	}
	switch {
	case r.path == "/login":
		return j.login(r, 200, false)
	case r.path == "/loginError":
		return j.login(r, 401, true)
	case r.path == "/j_spring_security_check" || r.path == "/j_acegi_security_check":
		return j.check(r)
	case r.path == "/logout":
		return j.redirect(302, r.origin(j.w)+"/", j.headers()...)
	case r.path == "/favicon.ico", strings.HasPrefix(r.path, "/static/"):
		return j.notFound(r)
	case r.path == "/whoAmI/api/json":
		return j.text(200, "application/json;charset=utf-8", `{"_class":"hudson.security.WhoAmI","anonymous":true,"authenticated":true,"authorities":["anonymous"],"details":null,"name":"anonymous","toString":"org.springframework.security.authentication.AnonymousAuthenticationToken"}`, j.headers()...)
	}
	return j.forbidden(r)
}

// freshSession is a new session's cookie as Jetty writes it.
func (j *jenkins) freshSession() header {
	secure := ""
	if j.w.secure {
		secure = "; Secure"
	}
	return header{"Set-Cookie", j.cookie + "=node0" + fresh(13) + ".node0; Path=/" + secure + "; HttpOnly"}
}

// check refuses every form, after the name and password went through the filter.
func (j *jenkins) check(r *request) *response {
	if r.method != "POST" {
		return j.notFound(r)
	}
	return &response{status: 302, headers: append([]header{{"X-Content-Type-Options", "nosniff"}, j.freshSession(), {"Expires", "Thu, 01 Jan 1970 00:00:00 GMT"}}, header{"Location", r.origin(j.w) + "/loginError"})}
}

func (j *jenkins) notFound(r *request) *response {
	path := html.EscapeString(cut(r.path, 512))
	body := "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=utf-8\"/>\n<title>Error 404 Not Found</title>\n</head>\n<body><h2>HTTP ERROR 404 Not Found</h2>\n<table>\n<tr><th>URI:</th><td>" + path + "</td></tr>\n<tr><th>STATUS:</th><td>404</td></tr>\n<tr><th>MESSAGE:</th><td>Not Found</td></tr>\n<tr><th>SERVLET:</th><td>Stapler</td></tr>\n</table>\n<hr/><a href=\"https://eclipse.org/jetty\">Powered by Jetty:// 10.0.18</a><hr/>\n\n</body>\n</html>\n"
	return &response{status: 404, ctype: "text/html;charset=utf-8", body: []byte(body), headers: []header{{"X-Content-Type-Options", "nosniff"}, {"Cache-Control", "must-revalidate,no-cache,no-store"}}}
}

// forbidden is what an anonymous visitor gets for every page: a redirection to the login in a 403.
func (j *jenkins) forbidden(r *request) *response {
	from := url.QueryEscape(cut(r.target, 512))
	body := "<html><head><meta http-equiv='refresh' content='1;url=/login?from=" + from + "'/><script id='redirect' data-redirect-url='/login?from=" + from + "' src='/static/" + j.asset + "/scripts/redirect.js'></script></head><body style='background-color:white; color:white;'>\n" +
		"Authentication required\n<!--\n-->\n\n</body></html>                                                                                                                                                                                                                                                                                                                                                                        "
	headers := append(j.headers(), j.freshSession(), header{"Expires", "Thu, 01 Jan 1970 00:00:00 GMT"})
	return &response{status: 403, ctype: "text/html;charset=utf-8", body: []byte(body), headers: headers}
}

type jenkinsView struct {
	Static, From string
	Failed       bool
}

func (j *jenkins) login(r *request, status int, failed bool) *response {
	v := jenkinsView{Static: "/static/" + j.asset, From: bounded(r.param("from")), Failed: failed}
	headers := append(j.headers(), header{"Expires", "0"}, header{"Cache-Control", "no-cache,no-store,must-revalidate"},
		header{"X-Frame-Options", "sameorigin"}, header{"X-Instance-Identity", j.key},
		j.freshSession())
	resp := j.html(status, "jenkins.tmpl", v, headers...)
	resp.ctype = "text/html;charset=utf-8"
	return resp
}
