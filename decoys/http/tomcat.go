package http

import (
	"fmt"
	"html"
	"strings"

	"github.com/decnet/decnet/decoys/identity"
)

// tomcat is an Apache Tomcat behind the web server, with its welcome page and managers. Nobody is a manager.
type tomcat struct {
	base
	version string
}

func newTomcat(b base) *tomcat {
	t := &tomcat{base: b}
	t.version = identity.PickWeighted(b.id, "tomcat-version", []identity.Weighted[string]{
		{Value: "8.5.50", Weight: 1},
		{Value: "8.5.78", Weight: 2},
		{Value: "9.0.31", Weight: 2},
		{Value: "9.0.58", Weight: 3},
		{Value: "9.0.70", Weight: 2},
		{Value: "9.0.83", Weight: 3},
		{Value: "10.1.6", Weight: 1},
		{Value: "10.1.16", Weight: 2},
	})
	for name, body := range map[string]string{
		"/tomcat.css":        "body{margin:10px 20px;text-align:center;font-family:Arial,sans-serif}h1,h2,h3,h4,h5,h6,p,ul,ol{margin:0 0 0.5em}h1{font-size:18pt;margin:0.5em 0}\n",
		"/bg-nav.png":        "",
		"/asf-logo-wide.svg": "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"537\" height=\"196\"></svg>\n",
		"/tomcat.svg":        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"100\" height=\"71\"></svg>\n",
		"/RELEASE-NOTES.txt": "================================================================================\n\n\n                     Apache Tomcat Version " + t.version + "\n                            Release Notes\n\n\n",
	} {
		t.add(name, body)
	}
	for name, f := range t.static { // the tag of a servlet container: size and milliseconds
		f.etag = fmt.Sprintf(`W/"%d-%d"`, len(f.body), f.modified.UnixMilli())
		t.static[name] = f
	}
	return t
}

func (t *tomcat) answer(r *request) *response {
	if r.method == "OPTIONS" {
		return &response{status: 200, headers: []header{{"Allow", "GET, HEAD, POST, OPTIONS"}}}
	}
	if f := t.file(r); f != nil {
		return f
	}
	switch {
	case !strings.Contains("GET HEAD POST", r.method):
		return t.failure(405, "JSPs only permit GET, POST or HEAD. Jasper also permits OPTIONS", "The method received in the request-line is known by the origin server but not supported by the target resource.")
	case r.path == "/" || r.path == "/index.jsp":
		return t.html(200, "tomcat.tmpl", t.view())
	case r.path == "/manager" || r.path == "/host-manager" || r.path == "/docs" || r.path == "/examples":
		return &response{status: 302, headers: []header{{"Location", r.path + "/"}}}
	case r.path == "/manager/" || r.path == "/host-manager/":
		return &response{status: 302, headers: []header{{"Location", r.path + "html"}}, ctype: "text/html"}
	case strings.HasPrefix(r.path, "/manager/"):
		return t.denied("Tomcat Manager Application", "manager-gui", "/manager/html")
	case strings.HasPrefix(r.path, "/host-manager/"):
		return t.denied("Tomcat Host Manager Application", "admin-gui", "/host-manager/html")
	case r.path == "/docs/":
		return t.text(200, "text/html", "<!DOCTYPE html SYSTEM \"about:legacy-compat\">\n<html lang=\"en\"><head><META http-equiv=\"Content-Type\" content=\"text/html; charset=UTF-8\"><title>Apache Tomcat "+t.major()+" ("+t.version+") - Documentation Index</title></head><body><h1>Documentation Index</h1></body></html>\n")
	case r.path == "/examples/":
		return t.text(200, "text/html", "<!DOCTYPE html>\n<html><head><title>Apache Tomcat Examples</title></head><body><h3>Apache Tomcat Examples</h3><ul><li><a href=\"servlets\">Servlets examples</a></li><li><a href=\"jsp\">JSP Examples</a></li></ul></body></html>\n")
	case strings.HasPrefix(strings.ToUpper(r.path), "/WEB-INF"), strings.HasPrefix(strings.ToUpper(r.path), "/META-INF"):
		return t.notFound(r)
	}
	return t.notFound(r)
}

func (t *tomcat) notFound(r *request) *response {
	message := "The requested resource [" + cut(r.path, 512) + "] is not available"
	if t.version < "9.0.4" || strings.HasPrefix(t.version, "8") {
		message = cut(r.path, 512)
	}
	return t.failure(404, message, "The origin server did not find a current representation for the target resource or is not willing to disclose that one exists.")
}

// major is the release line: 9, or 10.1.
func (t *tomcat) major() string {
	if strings.HasPrefix(t.version, "10.1") {
		return "10"
	}
	major, _, _ := strings.Cut(t.version, ".")
	return major
}

type tomcatView struct{ Version, Major, Line string }

func (t *tomcat) view() tomcatView {
	parts := strings.Split(t.version, ".")
	return tomcatView{t.version, t.major(), parts[0] + "." + parts[1]}
}

const tomcatStyle = `<style type="text/css">body {font-family:Tahoma,Arial,sans-serif;} h1, h2, h3, b {color:white;background-color:#525D76;} h1 {font-size:22px;} h2 {font-size:16px;} h3 {font-size:14px;} p {font-size:12px;} a {color:black;} .line {height:1px;background-color:#525D76;border:none;}</style>`

// failure is the container's error report.
func (t *tomcat) failure(status int, message, description string) *response {
	reason := t.w.reason(status)
	if status == 404 {
		reason = "Not Found"
	}
	body := fmt.Sprintf(`<!doctype html><html lang="en"><head><title>HTTP Status %d – %s</title>%s</head><body><h1>HTTP Status %d – %s</h1><hr class="line" /><p><b>Type</b> Status Report</p><p><b>Message</b> %s</p><p><b>Description</b> %s</p><hr class="line" /><h3>Apache Tomcat/%s</h3></body></html>`,
		status, reason, tomcatStyle, status, reason, html.EscapeString(message), description, t.version)
	return &response{status: status, ctype: "text/html;charset=utf-8", body: []byte(body), headers: []header{{"Content-Language", "en"}}}
}

// denied asks for Basic credentials and explains, as the managers do, how to become one.
func (t *tomcat) denied(realm, role, path string) *response {
	body := fmt.Sprintf(`<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN" "http://www.w3.org/TR/html4/strict.dtd">
<html>
 <head>
  <title>401 Unauthorized</title>
  <style type="text/css">
    <!--
    BODY {font-family:Tahoma,Arial,sans-serif;color:black;background-color:white;font-size:12px;}
    H1 {font-family:Tahoma,Arial,sans-serif;color:white;background-color:#525D76;font-size:22px;}
    PRE, TT {border: 1px dotted #525D76}
    A {color : black;}A.name {color : black;}
    -->
  </style>
 </head>
 <body>
   <h1>401 Unauthorized</h1>
   <p>
    You are not authorized to view this page. If you have not changed
    any configuration files, please examine the file
    <tt>conf/tomcat-users.xml</tt> in your installation. That
    file must contain the credentials to let you use this webapp.
   </p>
   <p>
    For example, to add the <tt>%s</tt> role to a user named
    <tt>tomcat</tt> with a password of <tt>s3cret</tt>, add the following to the
    config file listed above.
   </p>
<pre>
&lt;role rolename="%s"/&gt;
&lt;user username="tomcat" password="s3cret" roles="%s"/&gt;
</pre>
   <p>
    For more information - please see the <a href="/docs%s-howto.html">How-To</a>.
   </p>
 </body>

</html>
`, role, role, role, strings.TrimSuffix(path, "/html"))
	return &response{status: 401, ctype: "text/html;charset=ISO-8859-1", body: []byte(body), headers: []header{
		{"Cache-Control", "private"}, {"WWW-Authenticate", `Basic realm="` + realm + `"`},
	}}
}
