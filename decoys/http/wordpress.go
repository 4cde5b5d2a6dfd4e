package http

import (
	"encoding/json"
	"fmt"
	"html"
	"html/template"
	"net/url"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/identity"
)

// wordPress is a small site with one author. Nobody can log in.
type wordPress struct {
	base
	version, theme string
	title, tagline string
	user, name     string
	posts          []wpPost
}

type wpPost struct {
	ID          int
	Title, Slug string
	Text        string
	At          time.Time
}

func newWordPress(b base) *wordPress {
	wp := &wordPress{base: b}
	wp.version = identity.PickWeighted(b.id, "wp-version", []identity.Weighted[string]{
		{Value: "6.2.2", Weight: 1},
		{Value: "6.3.1", Weight: 2},
		{Value: "6.4.2", Weight: 2},
		{Value: "6.4.3", Weight: 3},
		{Value: "6.5.2", Weight: 2},
		{Value: "6.5.5", Weight: 3},
		{Value: "6.6.1", Weight: 2},
		{Value: "6.6.2", Weight: 3},
		{Value: "6.7.1", Weight: 2},
	})
	wp.theme = identity.Pick(b.id, "wp-theme", []string{"twentytwentytwo", "twentytwentythree", "twentytwentyfour", "astra", "generatepress"})
	place := identity.Pick(b.id, "wp-place", []string{"Harbour", "Northside", "Lakeview", "Oakfield", "Riverbend", "Hillcrest", "Eastgate", "Summit"})
	trade := identity.Pick(b.id, "wp-trade", []string{"Dental", "Logistics", "Accounting", "Interiors", "Joinery", "Physiotherapy", "Consulting", "Catering"})
	wp.title = place + " " + trade
	wp.tagline = identity.Pick(b.id, "wp-tagline", []string{"", "News and updates", "Serving the region for 20 years", "Just another WordPress site"})
	person := identity.Pick(b.id, "wp-user", [][2]string{
		{"admin", "admin"}, {"mark", "Mark Ellis"}, {"webmaster", "Webmaster"}, {"s.keller", "Sandra Keller"}, {"office", "Office"}, {"jpeters", "Jon Peters"},
	})
	wp.user, wp.name = person[0], person[1]
	wp.compose()
	wp.assets()
	return wp
}

func (wp *wordPress) compose() {
	r := wp.id.Rand("wp-posts")
	subjects := []wpPost{
		{Title: "New opening hours", Slug: "new-opening-hours", Text: "From next month we are open on Saturdays between nine and noon. Appointments can be made by telephone."},
		{Title: "We are hiring", Slug: "we-are-hiring", Text: "Our team is growing. Send us a short note about yourself and we will get back to you within a week."},
		{Title: "Summer break", Slug: "summer-break", Text: "The office is closed for two weeks in August. In urgent cases please use the number on the contact page."},
		{Title: "Moved to a new server", Slug: "moved-to-a-new-server", Text: "The website has moved. Should something be missing, let us know."},
		{Title: "Hello world!", Slug: "hello-world", Text: "Welcome to WordPress. This is your first post. Edit or delete it, then start writing!"},
	}
	at, id := wp.installed.Add(80*24*time.Hour), 40+r.IntN(300)
	for _, p := range subjects[r.IntN(3):] {
		p.ID, p.At = id, at
		wp.posts = append(wp.posts, p)
		id, at = max(id-3-r.IntN(40), 1), at.Add(-time.Duration(5+r.IntN(20))*24*time.Hour)
	}
	last := &wp.posts[len(wp.posts)-1]
	last.ID, last.At = 1, wp.installed
}

func (wp *wordPress) assets() {
	css := "@charset \"UTF-8\";body,html{height:100%%;margin:0;padding:0}body{background:#f0f0f1;min-width:0;color:#3c434a;font-family:-apple-system,BlinkMacSystemFont,\"Segoe UI\",Roboto,sans-serif;font-size:13px;line-height:1.4}/* %s */\n"
	for _, name := range []string{"/wp-admin/css/login.min.css", "/wp-admin/css/forms.min.css", "/wp-admin/css/l10n.min.css", "/wp-includes/css/buttons.min.css", "/wp-includes/css/dashicons.min.css", "/wp-includes/css/dist/block-library/style.min.css", "/wp-content/themes/" + wp.theme + "/style.css"} {
		wp.add(name, fmt.Sprintf(css, wp.version))
	}
	wp.add("/wp-content/themes/"+wp.theme+"/style.css", fmt.Sprintf("/*\nTheme Name: %s\nAuthor: the WordPress team\nRequires at least: 5.9\nTested up to: %s\nRequires PHP: 5.6\nVersion: 1.%d\nLicense: GNU General Public License v2 or later\n*/\n",
		wp.theme, wp.version[:3], wp.id.Seed()%5))
	for _, name := range []string{"/wp-includes/js/jquery/jquery.min.js", "/wp-includes/js/jquery/jquery-migrate.min.js", "/wp-admin/js/user-profile.min.js", "/wp-admin/js/password-strength-meter.min.js"} {
		wp.add(name, "/*! This file is auto-generated */\n!function(){}();\n")
	}
	wp.add("/readme.html", "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n\t<meta name=\"viewport\" content=\"width=device-width\" />\n\t<meta http-equiv=\"Content-Type\" content=\"text/html; charset=utf-8\" />\n\t<title>WordPress &#8250; ReadMe</title>\n\t<link rel=\"stylesheet\" href=\"wp-admin/css/install.css?ver=20100228\" type=\"text/css\" />\n</head>\n<body>\n<h1 id=\"logo\">\n\t<a href=\"https://wordpress.org/\"><img alt=\"WordPress\" src=\"wp-admin/images/wordpress-logo.png\" /></a>\n</h1>\n<p style=\"text-align: center\">Semantic Personal Publishing Platform</p>\n</body>\n</html>\n")
	wp.add("/license.txt", "WordPress - Web publishing software\n\nCopyright 2011-2024 by the contributors\n\nThis program is free software; you can redistribute it and/or modify\nit under the terms of the GNU General Public License as published by\nthe Free Software Foundation; either version 2 of the License, or\n(at your option) any later version.\n")
}

func (wp *wordPress) answer(r *request) *response {
	if f := wp.file(r); f != nil {
		return f
	}
	switch {
	case r.path == "/" || r.path == "/index.php":
		return wp.home(r)
	case r.path == "/wp-login.php":
		return wp.login(r)
	case r.path == "/wp-admin":
		return wp.w.moved(r, "/wp-admin/")
	case r.path == "/wp-admin/admin-ajax.php", r.path == "/wp-admin/admin-post.php":
		return wp.text(400, "text/html; charset=UTF-8", "0", noStore...)
	case strings.HasPrefix(r.path, "/wp-admin/"):
		to := r.origin(wp.w) + "/wp-login.php?redirect_to=" + url.QueryEscape(r.origin(wp.w)+r.target) + "&reauth=1"
		return wp.redirect(302, to, append(noStore, header{"X-Redirect-By", "WordPress"})...)
	case r.path == "/xmlrpc.php":
		return wp.xmlrpc(r)
	case r.path == "/wp-cron.php", r.path == "/wp-content/", r.path == "/wp-content/index.php", r.path == "/wp-content/plugins/", r.path == "/wp-content/themes/":
		return wp.text(200, "text/html; charset=UTF-8", "")
	case r.path == "/wp-content/uploads/", strings.HasPrefix(r.path, "/wp-includes/") && strings.HasSuffix(r.path, "/"), strings.HasPrefix(r.path, "/.ht"):
		return wp.w.page(403, r, "")
	case r.path == "/wp-config.php":
		return wp.text(200, "text/html; charset=UTF-8", "")
	case strings.HasPrefix(r.path, "/wp-json") || (r.path == "/" && r.param("rest_route") != ""):
		return wp.rest(r)
	}
	return wp.more(r)
}

var noStore = []header{
	{"Expires", "Wed, 11 Jan 1984 05:00:00 GMT"}, {"Cache-Control", "no-cache, must-revalidate, max-age=0"},
}

func (wp *wordPress) more(r *request) *response {
	origin := r.origin(wp.w)
	switch strings.TrimSuffix(r.path, "/") {
	case "/feed", "/comments/feed":
		return wp.feed(r)
	case "/robots.txt":
		return wp.text(200, "text/plain; charset=utf-8", "User-agent: *\nDisallow: /wp-admin/\nAllow: /wp-admin/admin-ajax.php\n\nSitemap: "+origin+"/wp-sitemap.xml\n")
	case "/favicon.ico":
		return wp.redirect(302, origin+"/wp-includes/images/w-logo-blue-white-bg.png", header{"X-Redirect-By", "WordPress"})
	case "/admin", "/login", "/dashboard", "/wp-login":
		return wp.redirect(302, origin+"/wp-login.php", append(noStore, header{"X-Redirect-By", "WordPress"})...)
	case "/author/" + wp.slug():
		return wp.html(200, "wordpress_home.tmpl", wp.view(r, wp.name+" – "+wp.title, wp.posts), wp.link(r))
	}
	for _, p := range wp.posts {
		if strings.Trim(r.path, "/") == p.Slug {
			return wp.html(200, "wordpress_home.tmpl", wp.view(r, p.Title+" – "+wp.title, []wpPost{p}), wp.link(r))
		}
	}
	headers := append(noStore, wp.link(r))
	return wp.html(404, "wordpress_home.tmpl", wp.view(r, "Page not found – "+wp.title, nil), headers...)
}

func (wp *wordPress) slug() string { return strings.ReplaceAll(wp.user, ".", "-") }

func (wp *wordPress) link(r *request) header {
	return header{"Link", "<" + r.origin(wp.w) + "/wp-json/>; rel=\"https://api.w.org/\""}
}

type wpView struct {
	Origin, Version, Theme, PageTitle string
	Title, Tagline                    string
	Posts                             []wpPost
	Error                             template.HTML
	Modern                            bool
	User, Redirect                    string
}

func (wp *wordPress) view(r *request, title string, posts []wpPost) wpView {
	return wpView{
		Origin: r.origin(wp.w), Version: wp.version, Theme: wp.theme, PageTitle: title, Title: wp.title, Tagline: wp.tagline, Posts: posts,
		Modern: wp.version >= "6.4",
	}
}

func (wp *wordPress) home(r *request) *response {
	switch author := r.param("author"); {
	case author == "1":
		return wp.redirect(301, r.origin(wp.w)+"/author/"+wp.slug()+"/", header{"X-Redirect-By", "WordPress"})
	case author != "":
		return wp.html(404, "wordpress_home.tmpl", wp.view(r, "Page not found – "+wp.title, nil), append(noStore, wp.link(r))...)
	case r.param("rest_route") != "":
		return wp.rest(r)
	}
	title := wp.title
	if wp.tagline != "" {
		title += " – " + wp.tagline
	}
	return wp.html(200, "wordpress_home.tmpl", wp.view(r, title, wp.posts), wp.link(r))
}

func (wp *wordPress) login(r *request) *response {
	v := wp.view(r, "Log In ‹ "+wp.title+" — WordPress", nil)
	v.Redirect = bounded(r.param("redirect_to"))
	if v.Redirect == "" {
		v.Redirect = v.Origin + "/wp-admin/"
	}
	if r.method == "POST" && r.param("action") == "" {
		form := r.form()
		v.User = bounded(form["log"])
		v.Error = template.HTML(wp.complaint(v, form)) //nolint:gosec // its parts are escaped where they are put together
		if to := form["redirect_to"]; to != "" {
			v.Redirect = bounded(to)
		}
	}
	cookie := "wordpress_test_cookie=WP%20Cookie%20check; path=/"
	if wp.w.secure {
		cookie += "; secure"
	}
	headers := append(append([]header{}, noStore...), header{"Set-Cookie", cookie},
		header{"X-Frame-Options", "SAMEORIGIN"}, header{"Referrer-Policy", "strict-origin-when-cross-origin"})
	return wp.html(200, "wordpress_login.tmpl", v, headers...)
}

// complaint is what the login form says to a wrong name or password.
func (wp *wordPress) complaint(v wpView, form map[string]string) string {
	user := html.EscapeString(v.User)
	lost := ` <a href="` + html.EscapeString(v.Origin) + `/wp-login.php?action=lostpassword">Lost your password?</a>`
	switch {
	case form["log"] == "" && form["pwd"] == "":
		return `<strong>Error:</strong> The username field is empty.<br /><strong>Error:</strong> The password field is empty.`
	case form["log"] == "":
		return `<strong>Error:</strong> The username field is empty.`
	case form["pwd"] == "":
		return `<strong>Error:</strong> The password field is empty.`
	case strings.Contains(v.User, "@"):
		return `<strong>Error:</strong> Unknown email address. Check again or try your username.`
	case !strings.EqualFold(v.User, wp.user):
		return `<strong>Error:</strong> The username <strong>` + user + `</strong> is not registered on this site. If you are unsure of your username, try your email address instead.`
	}
	return `<strong>Error:</strong> The password you entered for the username <strong>` + user + `</strong> is incorrect.` + lost
}

func (wp *wordPress) xmlrpc(r *request) *response {
	if r.method != "POST" {
		return wp.text(405, "text/plain;charset=UTF-8", "XML-RPC server accepts POST requests only.", header{"Allow", "POST"})
	}
	_, after, _ := strings.Cut(string(r.body), "<methodName>")
	method, _, found := strings.Cut(after, "</methodName>")
	const head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<methodResponse>\n"
	fault := func(code int, text string) *response {
		return wp.text(200, "text/xml; charset=UTF-8", fmt.Sprintf("%s  <fault>\n    <value>\n      <struct>\n        <member>\n          <name>faultCode</name>\n          <value><int>%d</int></value>\n        </member>\n        <member>\n          <name>faultString</name>\n          <value><string>%s</string></value>\n        </member>\n      </struct>\n    </value>\n  </fault>\n</methodResponse>\n", head, code, html.EscapeString(text)))
	}
	value := func(xml string) *response {
		return wp.text(200, "text/xml; charset=UTF-8", head+"  <params>\n    <param>\n      <value>\n      "+xml+"\n      </value>\n    </param>\n  </params>\n</methodResponse>\n")
	}
	switch method = strings.TrimSpace(method); {
	case !found:
		return fault(-32700, "parse error. not well formed")
	case method == "demo.sayHello":
		return value("<string>Hello!</string>")
	case method == "system.listMethods":
		return value("<array><data>\n  <value><string>system.multicall</string></value>\n  <value><string>system.listMethods</string></value>\n  <value><string>system.getCapabilities</string></value>\n  <value><string>demo.sayHello</string></value>\n  <value><string>pingback.ping</string></value>\n  <value><string>wp.getUsersBlogs</string></value>\n  <value><string>wp.getPosts</string></value>\n  <value><string>wp.newPost</string></value>\n  <value><string>wp.uploadFile</string></value>\n</data></array>")
	case method == "pingback.ping":
		return fault(0, "")
	case strings.HasPrefix(method, "wp."), strings.HasPrefix(method, "blogger."), strings.HasPrefix(method, "metaWeblog."), method == "system.multicall":
		return fault(403, "Incorrect username or password.")
	}
	return fault(-32601, "server error. requested method "+bounded(method)+" does not exist.")
}

// rest is the JSON interface, as far as scanners ask.
func (wp *wordPress) rest(r *request) *response {
	route := strings.TrimSuffix(strings.TrimPrefix(r.path, "/wp-json"), "/")
	if q := r.param("rest_route"); q != "" {
		route = strings.TrimSuffix(q, "/")
	}
	origin := r.origin(wp.w)
	headers := []header{{"X-Robots-Tag", "noindex"}, wp.link(r), {"X-Content-Type-Options", "nosniff"}, {"Access-Control-Expose-Headers", "X-WP-Total, X-WP-TotalPages, Link"}, {"Allow", "GET"}}
	reply := func(status int, v any) *response {
		b, _ := json.Marshal(v)
		return wp.text(status, "application/json; charset=UTF-8", string(b), headers...)
	}
	user := map[string]any{"id": 1, "name": wp.name, "url": "", "description": "", "link": origin + "/author/" + wp.slug() + "/", "slug": wp.slug()}
	switch route {
	case "":
		return reply(200, map[string]any{"name": wp.title, "description": wp.tagline, "url": origin, "home": origin, "gmt_offset": "0", "timezone_string": "", "namespaces": []string{"oembed/1.0", "wp/v2", "wp-site-health/v1", "wp-block-editor/v1"}, "authentication": map[string]any{}, "routes": map[string]any{}})
	case "/wp/v2/users":
		return reply(200, []any{user})
	case "/wp/v2/users/1":
		return reply(200, user)
	case "/wp/v2/posts":
		list := []any{}
		for _, p := range wp.posts {
			list = append(list, map[string]any{"id": p.ID, "date": p.At.Format("2006-01-02T15:04:05"), "slug": p.Slug, "status": "publish", "type": "post", "link": origin + "/" + p.Slug + "/", "author": 1, "title": map[string]string{"rendered": p.Title}})
		}
		return reply(200, list)
	case "/wp/v2/users/me", "/wp/v2/settings", "/wp/v2/plugins":
		return reply(401, map[string]any{"code": "rest_forbidden", "message": "Sorry, you are not allowed to do that.", "data": map[string]int{"status": 401}})
	}
	return reply(404, map[string]any{"code": "rest_no_route", "message": "No route was found matching the URL and request method.", "data": map[string]int{"status": 404}})
}

func (wp *wordPress) feed(r *request) *response {
	origin := html.EscapeString(r.origin(wp.w))
	var b strings.Builder
	fmt.Fprintf(&b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?><rss version=\"2.0\"\n\txmlns:content=\"http://purl.org/rss/1.0/modules/content/\"\n\txmlns:dc=\"http://purl.org/dc/elements/1.1/\"\n\t>\n\n<channel>\n\t<title>%s</title>\n\t<link>%s</link>\n\t<description>%s</description>\n\t<language>en-US</language>\n\t<generator>https://wordpress.org/?v=%s</generator>\n",
		html.EscapeString(wp.title), origin, html.EscapeString(wp.tagline), wp.version)
	for _, p := range wp.posts {
		fmt.Fprintf(&b, "\t<item>\n\t\t<title>%s</title>\n\t\t<link>%s/%s/</link>\n\t\t<dc:creator><![CDATA[%s]]></dc:creator>\n\t\t<pubDate>%s</pubDate>\n\t\t<guid isPermaLink=\"false\">%s/?p=%d</guid>\n\t</item>\n",
			html.EscapeString(p.Title), origin, p.Slug, wp.name, p.At.UTC().Format(time.RFC1123Z), origin, p.ID)
	}
	b.WriteString("</channel>\n</rss>\n")
	return wp.text(200, "application/rss+xml; charset=UTF-8", b.String(), wp.link(r))
}
