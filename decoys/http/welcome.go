package http

import (
	"embed"
	"strings"
)

//go:embed pages
var pages embed.FS

func mustPage(name string) string {
	b, err := pages.ReadFile("pages/" + name)
	if err != nil {
		panic(err) // the file is part of the program
	}
	return string(b)
}

// frontPage is what the packaged server shows before anybody configures it.
func frontPage(w *web) []byte {
	low := strings.ToLower(w.banner)
	switch {
	case w.kind == nginx:
		return []byte(mustPage("nginx.html"))
	case w.kind == iis:
		return []byte(mustPage("iis.html"))
	case strings.Contains(low, "debian"):
		return []byte(strings.ReplaceAll(mustPage("apache.html"), "@DISTRO@", "Debian"))
	case strings.Contains(low, "ubuntu"):
		return []byte(strings.ReplaceAll(mustPage("apache.html"), "@DISTRO@", "Ubuntu"))
	case strings.Contains(low, "rocky"), strings.Contains(low, "centos"), strings.Contains(low, "fedora"):
		return []byte(mustPage("httpd.html"))
	}
	return []byte("<html><body><h1>It works!</h1></body></html>\n")
}
