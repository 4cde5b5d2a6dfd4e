package http

import (
	"fmt"
	"html"
	"html/template"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/identity"
)

// phpMyAdmin is its login page, at the root and below /phpmyadmin/. The database refuses everybody.
type phpMyAdmin struct {
	base
	version string
}

func newPhpMyAdmin(b base) *phpMyAdmin {
	p := &phpMyAdmin{base: b}
	p.version = identity.PickWeighted(b.id, "pma-version", []identity.Weighted[string]{
		{Value: "4.9.5deb2", Weight: 2}, {Value: "4.9.7", Weight: 1}, {Value: "5.1.1deb5ubuntu1", Weight: 4}, {Value: "5.2.0", Weight: 2}, {Value: "5.2.1deb1", Weight: 4}, {Value: "5.2.1", Weight: 3},
	})
	for _, dir := range []string{"", "/phpmyadmin"} {
		p.add(dir+"/themes/pmahomme/css/theme.css", "@charset \"UTF-8\";\nhtml{font-size:82%}body{padding:0;margin:0;margin-left:240px;color:#444;background:#fff;font-family:sans-serif}#li_select_lang,.loginform{text-align:left}\n")
		p.add(dir+"/themes/pmahomme/jquery/jquery-ui.css", ".ui-helper-hidden{display:none}.ui-helper-reset{margin:0;padding:0;border:0}\n")
		p.add(dir+"/js/vendor/jquery/jquery.min.js", "/*! jQuery */\n!function(){}();\n")
		p.add(dir+"/js/dist/main.js", "\"use strict\";\n")
		p.add(dir+"/robots.txt", "User-agent: *\nDisallow: /\n")
		p.add(dir+"/README", fmt.Sprintf("phpMyAdmin - Readme\n===================\n\nVersion %s\n\nA web interface for MySQL and MariaDB.\n\nhttps://www.phpmyadmin.net/\n", p.number()))
	}
	return p
}

// number is the version without what the distribution appends.
func (p *phpMyAdmin) number() string {
	n, _, _ := strings.Cut(p.version, "deb")
	return n
}

func (p *phpMyAdmin) answer(r *request) *response {
	if f := p.file(r); f != nil {
		return f
	}
	name := r.path
	if rest, ok := strings.CutPrefix(name, "/phpmyadmin"); ok {
		if rest == "" {
			return p.w.moved(r, "/phpmyadmin/")
		}
		name = rest
	}
	switch {
	case name == "/" || name == "/index.php":
		return p.login(r)
	case strings.HasPrefix(name, "/setup"), strings.HasPrefix(name, "/libraries/"), strings.HasPrefix(name, "/templates/"), strings.HasPrefix(name, "/.ht"):
		return p.w.page(403, r, "")
	case strings.HasSuffix(name, ".php") && len(name) < 40 && knownPHP[name]:
		return p.redirect(302, "./index.php?route=/", p.headers()...)
	}
	return p.w.page(404, r, "")
}

var knownPHP = map[string]bool{
	"/sql.php": true, "/import.php": true, "/export.php": true, "/tbl_sql.php": true, "/db_sql.php": true, "/server_sql.php": true,
	"/server_databases.php": true, "/navigation.php": true, "/main.php": true, "/url.php": true, "/logout.php": true, "/db_structure.php": true,
}

func (p *phpMyAdmin) headers() []header {
	now := time.Now().UTC().Format(dateFormat)
	suffix, secure := "", ""
	if p.w.secure {
		suffix, secure = "_https", " secure;"
	}
	return []header{
		{"Expires", now},
		{"Cache-Control", "no-store, no-cache, must-revalidate,  pre-check=0, post-check=0, max-age=0"},
		{"Pragma", "no-cache"},
		{"Last-Modified", now},
		{"Set-Cookie", "phpMyAdmin" + suffix + "=" + fresh(13) + "; path=/;" + secure + " HttpOnly; SameSite=Strict"},
		{"Set-Cookie", "pma_lang" + suffix + "=en; path=/;" + secure + " HttpOnly; SameSite=Strict"},
		{"X-Frame-Options", "DENY"},
		{"Referrer-Policy", "no-referrer"},
		{"Content-Security-Policy", "default-src 'self' ;script-src 'self' 'unsafe-inline' 'unsafe-eval' ;style-src 'self' 'unsafe-inline' ;img-src 'self' data:  *.tile.openstreetmap.org;object-src 'none';"},
		{"X-XSS-Protection", "1; mode=block"},
		{"X-Content-Type-Options", "nosniff"},
		{"X-Permitted-Cross-Domain-Policies", "none"},
		{"X-Robots-Tag", "noindex, nofollow"},
		{"Vary", "Accept-Encoding"},
	}
}

type pmaView struct {
	Version, User, Token string
	Error                template.HTML
	New                  bool
}

func (p *phpMyAdmin) login(r *request) *response {
	v := pmaView{Version: p.version, Token: fresh(16), New: p.version >= "5"}
	if r.method == "POST" {
		form := r.form()
		if user, asked := form["pma_username"]; asked {
			v.User = bounded(user)
			v.Error = template.HTML(p.complaint(v.User, form["pma_password"])) //nolint:gosec // its parts are escaped where they are put together
		}
	}
	return p.html(200, "phpmyadmin.tmpl", v, p.headers()...)
}

// complaint is the error of the database behind, or of the configuration.
func (p *phpMyAdmin) complaint(user, password string) string {
	if password == "" {
		return "Login without a password is forbidden by configuration (see AllowNoPassword)"
	}
	call := "mysqli::real_connect()"
	if p.version < "5" {
		call = "mysqli_real_connect()"
	}
	message := call + ": (HY000/1045): Access denied for user '" + user + "'@'localhost' (using password: YES)"
	return strings.ReplaceAll(html.EscapeString(message), "&#39;", "&#039;") // as PHP spells it
}
