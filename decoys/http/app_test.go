package http_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/decnet/decnet/decoys/config"
	"github.com/decnet/decnet/decoys/decoytest"
)

func TestWordPress_LoginFailsWithItsOwnWords(t *testing.T) {
	t.Parallel()
	b := setup(t, config.HTTP{FakeApp: "wordpress", ServerHeader: apacheBanner})
	out := b.curl(t, "/wp-login.php", "-i")
	require.Contains(t, out, "Set-Cookie: wordpress_test_cookie=WP%20Cookie%20check; path=/\r\n")
	require.Contains(t, out, `name="pwd"`)
	out = b.curl(t, "/wp-login.php", "-d", "log=<script>alert(1)</script>&pwd=hunter2&wp-submit=Log+In&testcookie=1")
	require.Contains(t, out, "&lt;script&gt;alert(1)&lt;/script&gt;</strong> is not registered on this site.")
	require.NotContains(t, out, "<script>alert")
	line := b.log.Wait(t, ` request .*method="POST"`)
	require.Equal(t, "hunter2", decoytest.Field(line, "secret_printable"))
	require.Equal(t, "<script>alert(1)</script>", decoytest.Field(line, "principal"))
	user := between(b.curl(t, "/wp-json/wp/v2/users"), `"slug":"`, `"`)
	location := b.curl(t, "/?author=1", "-i")
	require.Contains(t, location, "/author/"+user+"/\r\n")
	login := strings.ReplaceAll(user, "-", ".")
	require.Contains(t, b.curl(t, "/wp-login.php", "-d", "log="+login+"&pwd=x"), "The password you entered for the username <strong>"+login+"</strong> is incorrect.")
	require.Contains(t, b.curl(t, "/wp-login.php", "-d", "log=&pwd="), "The username field is empty.")
	require.Contains(t, b.curl(t, "/wp-admin/", "-i"), "302 Found")
	require.Contains(t, b.curl(t, "/xmlrpc.php", "-i"), "405 Method Not Allowed")
	require.Contains(t, b.curl(t, "/xmlrpc.php", "-d", "<methodCall><methodName>wp.getUsersBlogs</methodName></methodCall>"), "Incorrect username or password.")
	require.Contains(t, b.curl(t, "/wp-includes/css/dashicons.min.css?ver=1", "-i"), "Content-Type: text/css\r\n")
	require.Contains(t, b.curl(t, "/feed/"), "https://wordpress.org/?v=")
	require.Contains(t, b.curl(t, "/no-such-page", "-i"), "404 Not Found")
	require.Contains(t, b.curl(t, "/wp-content/uploads/", "-i"), "403 Forbidden")
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}

func TestPhpMyAdmin_LoginFailsWithTheDatabasesWords(t *testing.T) {
	t.Parallel()
	b := setup(t, config.HTTP{FakeApp: "phpmyadmin", ServerHeader: nginxBanner})
	for _, path := range []string{"/", "/phpmyadmin/", "/phpmyadmin/index.php"} {
		require.Contains(t, b.curl(t, path), `name="pma_password"`)
		out := b.curl(t, path, "-d", "pma_username=ro%27ot&pma_password=toor&server=1")
		require.Contains(t, out, "Access denied for user &#039;ro&#039;ot&#039;@&#039;localhost&#039; (using password: YES)")
	}
	line := b.log.Wait(t, ` request .*method="POST"`)
	require.Equal(t, "ro'ot", decoytest.Field(line, "principal"))
	require.Equal(t, "toor", decoytest.Field(line, "secret_printable"))
	require.Contains(t, b.curl(t, "/phpmyadmin", "-i"), "301 Moved Permanently")
	require.Contains(t, b.curl(t, "/index.php", "-d", "pma_username=root&pma_password="), "AllowNoPassword")
	require.Contains(t, b.curl(t, "/setup/", "-i"), "403 Forbidden")
	require.Contains(t, b.curl(t, "/themes/pmahomme/css/theme.css", "-i"), "200 OK")
}

func TestTomcat_ManagerRefusesEverybody(t *testing.T) {
	t.Parallel()
	b := setup(t, config.HTTP{FakeApp: "tomcat", ServerHeader: nginxBanner})
	version := between(b.curl(t, "/"), "<title>Apache Tomcat/", "<")
	out := b.curl(t, "/manager/html", "-i", "-u", "tomcat:s3cret")
	require.Contains(t, out, "401 Unauthorized")
	require.Contains(t, out, `WWW-Authenticate: Basic realm="Tomcat Manager Application"`)
	require.Equal(t, "tomcat", decoytest.Field(b.log.Wait(t, `path="/manager/html"`), "principal"))
	require.Contains(t, b.curl(t, "/no<b>"), "Apache Tomcat/"+version+"</h3>")
	require.NotContains(t, b.curl(t, "/no<b>"), "<b>]")
	require.Contains(t, b.curl(t, "/", "-i", "-X", "OPTIONS"), "Allow: GET, HEAD, POST, OPTIONS\r\n")
	require.Contains(t, b.curl(t, "/x", "-i", "-X", "PUT", "-d", "a"), "405 Not Allowed")
	require.Contains(t, b.curl(t, "/tomcat.css", "-i"), `ETag: W/"`)
}

func TestJenkins_LoginFails(t *testing.T) {
	t.Parallel()
	b := setup(t, config.HTTP{FakeApp: "jenkins", ServerHeader: nginxBanner})
	require.Contains(t, b.curl(t, "/script", "-i"), "403 Forbidden")
	out := b.curl(t, "/login?from=%2F%0d%0aX-Evil:%201", "-i")
	require.Contains(t, out, "X-Jenkins: 2.")
	head, _, _ := strings.Cut(out, "\r\n\r\n")
	require.NotContains(t, head, "X-Evil")
	require.Contains(t, out, `name="j_password"`)
	out = b.curl(t, "/j_spring_security_check", "-i", "-L", "-d", "j_username=admin&j_password=admin123&from=%2F")
	require.Contains(t, out, "302 Moved Temporarily")
	require.Contains(t, out, "Invalid username or password")
	line := b.log.Wait(t, ` request .*path="/j_spring_security_check"`)
	require.Equal(t, "admin", decoytest.Field(line, "principal"))
	require.Equal(t, "admin123", decoytest.Field(line, "secret_printable"))
}

func TestDynamicPages_AreFramedAsBehindAProgram(t *testing.T) {
	t.Parallel()
	n := setup(t, config.HTTP{FakeApp: "wordpress", ServerHeader: nginxBanner})
	require.Contains(t, n.curl(t, "/", "-i"), "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n")
	require.NotContains(t, n.curl(t, "/", "-i", "--http1.0"), "chunked")
	a := setup(t, config.HTTP{FakeApp: "wordpress", ServerHeader: apacheBanner})
	require.Contains(t, a.curl(t, "/robots.txt", "-i"), "Content-Length: ")
}
