package ftp

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/decnet/decnet/decoys/identity"
	"github.com/decnet/decnet/decoys/persona"
	"github.com/decnet/decnet/decoys/vfs"
)

// Accounts of the tree. Names are what servers that show names show.
const (
	uidOwner  = 1000
	uidNobody = 65534
)

// Limits of the tree of a session, beyond what it starts with.
const (
	maxTreeBytes = vfs.MaxFileBytes
	maxTreeNodes = 2000
	backups      = 5
)

// share is what the server offers: the same files for every session, made anew when a week begins and the oldest backup gives way to
// a new one. What a date's backup holds never changes. There are no passwords in it.
type share struct {
	host  *persona.Host
	week  time.Time
	files []file
}

type file struct {
	path  string
	mode  fs.FileMode
	mtime time.Time
	data  []byte
}

// weekOf returns the night of the last Sunday, when backups ran.
func weekOf(now time.Time) time.Time {
	day := now.UTC().Truncate(24 * time.Hour)
	return day.AddDate(0, 0, -int(day.Weekday()))
}

func newShare(h *persona.Host, now time.Time) *share {
	s := &share{host: h, week: weekOf(now)}
	r := h.ID.Rand("ftp-share")
	company := identity.Pick(h.ID, "ftp-company", companies) + identity.Pick(h.ID, "ftp-suffix", []string{"", "-group", "-ltd", "-gmbh", "tech", "log", "-services"})
	themes := []func(*rand.Rand, string){s.backup, s.office, s.downloads}
	skip := r.IntN(len(themes))
	for i, theme := range themes {
		if i != skip {
			theme(r, company)
		}
	}
	s.dir(identity.Pick(h.ID, "ftp-incoming", []string{"/incoming", "/upload", "/uploads", "/in", "/transfer"}), 0o777|fs.ModeSticky, s.old(r))
	s.text("/"+identity.Pick(h.ID, "ftp-readme", []string{"README.txt", "readme.txt", "welcome.msg", "README", "_INFO.txt"}), s.old(r), fmt.Sprintf(
		"%s file exchange\n\nUploads are removed after %d days.\nQuestions: it@%s.example\n", company, 7+r.IntN(60), company))
	return s
}

var companies = []string{
	"nordlicht", "bluegate", "almira", "kestrel", "montera", "ferrum", "oakfield", "sunder", "velora", "brightline", "castellan", "dunmore", "evertec", "hallmark", "ironbridge", "jansen", "kupfer", "lakeside", "merano", "novak",
}

// old returns a time long ago that does not depend on when it is asked for.
func (s *share) old(r *rand.Rand) time.Time {
	return time.Date(2022, 3, 1, 7, 0, 0, 0, time.UTC).Add(time.Duration(r.Int64N(int64(700*24*time.Hour))) / time.Second * time.Second)
}

func (s *share) dir(p string, mode fs.FileMode, at time.Time) {
	s.files = append(s.files, file{path: p, mode: fs.ModeDir | mode, mtime: at})
}

func (s *share) put(p string, at time.Time, data []byte) {
	s.files = append(s.files, file{path: p, mode: 0o644, mtime: at, data: data})
}

func (s *share) text(p string, at time.Time, text string) { s.put(p, at, []byte(text)) }

// backup is what nightly jobs leave. Every archive is drawn from its own date.
func (s *share) backup(r *rand.Rand, company string) {
	root := identity.Pick(s.host.ID, "ftp-backup", []string{"/backup", "/backups", "/bak", "/nightly"})
	host := identity.Pick(s.host.ID, "ftp-host", []string{"web01", "web02", "app1", "erp", "intranet", "srv-files", "portal"})
	base := identity.Pick(s.host.ID, "ftp-db", []string{"shop", "crm", "erp", "wiki", "portal", "inventory"})
	hour := time.Duration(1+r.IntN(4))*time.Hour + time.Duration(r.IntN(60))*time.Minute
	var log strings.Builder
	s.dir(root, 0o755, s.week.Add(hour))
	s.dir(root+"/"+host, 0o755, s.week.Add(hour))
	s.dir(root+"/sql", 0o755, s.week.Add(hour))
	for i := backups - 1; i >= 0; i-- {
		day := s.week.AddDate(0, 0, -7*i)
		br := s.host.ID.Rand("ftp-backup/" + day.Format("2006-01-02"))
		at := day.Add(hour + time.Duration(20+br.IntN(500))*time.Second)
		archive := tarball(br, host, company, at)
		dump := pack(at, base+".sql", []byte(dump(br, base, company, at)))
		s.put(fmt.Sprintf("%s/%s/%s-%s.tar.gz", root, host, host, day.Format("20060102")), at, archive)
		s.put(fmt.Sprintf("%s/sql/%s_%s.sql.gz", root, base, day.Format("2006-01-02")), at.Add(40*time.Second), dump)
		fmt.Fprintf(&log, "%s backup %s started\n%s %s: %d bytes\n%s %s: %d bytes\n", day.Add(hour).Format(time.DateTime), host, at.Format(time.DateTime), host, len(archive), at.Add(40*time.Second).Format(time.DateTime), base, len(dump))
	}
	s.text(root+"/backup.log", s.week.Add(hour+10*time.Minute), log.String())
}

// tarball is an archive of a few files of a web server.
func tarball(r *rand.Rand, host, company string, at time.Time) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var access strings.Builder
	for i := range 400 + r.IntN(900) {
		fmt.Fprintf(&access, "10.%d.%d.%d - - [%s] \"GET /%s/%d HTTP/1.1\" 200 %d \"-\" \"Mozilla/5.0\"\n", r.IntN(4), r.IntN(250), 1+r.IntN(250),
			at.Add(time.Duration(i-2000)*time.Minute).Format("02/Jan/2006:15:04:05 -0700"), pickWord(r, "orders", "items", "static", "api/v1/search", "account"), r.IntN(90_000), 200+r.IntN(60_000))
	}
	for _, f := range [][2]string{
		{"etc/hostname", host + "\n"},
		{"etc/hosts", fmt.Sprintf("127.0.0.1\tlocalhost\n10.%d.%d.%d\t%s.%s.example %s\n", r.IntN(200), r.IntN(200), 2+r.IntN(200), host, company, host)},
		{"etc/crontab", "17 *\t* * *\troot\tcd / && run-parts --report /etc/cron.hourly\n"},
		{"var/www/html/index.html", "<!doctype html>\n<title>" + company + "</title>\n<h1>" + company + "</h1>\n"},
		{"var/log/apache2/access.log", access.String()},
	} {
		_ = w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o644, Size: int64(len(f[1])), ModTime: at.Add(-time.Hour), Uname: "root", Gname: "root"})
		_, _ = w.Write([]byte(f[1]))
	}
	_ = w.Close()
	return pack(at, "", b.Bytes())
}

// pack compresses; writing to memory cannot fail.
func pack(at time.Time, name string, data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Name, w.ModTime = name, at
	_, _ = w.Write(data)
	_ = w.Close()
	return b.Bytes()
}

func pickWord(r *rand.Rand, words ...string) string { return words[r.IntN(len(words))] }

var (
	firstNames = strings.Fields("anna ben carla david elena frank greta henrik ines jonas klara lukas maria nils olga peter rosa stefan tina victor")
	lastNames  = strings.Fields("adler baumann costa dietz ek fischer garcia hansen ivanova jung keller lind moreau novak olsen petrov roth silva toth weber")
)

// dump is what mysqldump writes of a table of customers.
func dump(r *rand.Rand, base, company string, at time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "-- MySQL dump 10.13  Distrib 8.0.%d, for Linux (x86_64)\n--\n-- Host: localhost    Database: %s\n-- ------------------------------------------------------\n\nDROP TABLE IF EXISTS `customers`;\n"+
		"CREATE TABLE `customers` (\n  `id` int NOT NULL AUTO_INCREMENT,\n  `name` varchar(80) NOT NULL,\n  `email` varchar(120) NOT NULL,\n  `created` datetime NOT NULL,\n  `orders` int NOT NULL DEFAULT '0',\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB;\n", 28+r.IntN(9), base)
	for i := range 300 + r.IntN(1500) {
		f, l := firstNames[r.IntN(len(firstNames))], lastNames[r.IntN(len(lastNames))]
		fmt.Fprintf(&b, "INSERT INTO `customers` VALUES (%d,'%s %s','%s.%s%d@%s.example','%s',%d);\n", 1000+i, strings.ToUpper(f[:1])+f[1:], strings.ToUpper(l[:1])+l[1:], f, l, r.IntN(90),
			pickWord(r, company, "mail", "post", "web"), at.Add(-time.Duration(r.IntN(900*24))*time.Hour).Format(time.DateTime), r.IntN(40))
	}
	fmt.Fprintf(&b, "-- Dump completed on %s\n", at.Format("2006-01-02 15:04:05"))
	return b.String()
}

// office is a folder of people who exchange papers.
func (s *share) office(r *rand.Rand, company string) {
	root := identity.Pick(s.host.ID, "ftp-office", []string{"/documents", "/shared", "/office", "/exchange"})
	s.dir(root, 0o755, s.old(r))
	for _, folder := range []string{"invoices", "scans", pickWord(r, "contracts", "offers", "projects")} {
		s.dir(root+"/"+folder, 0o755, s.old(r))
		n := 1000 + r.IntN(8000)
		for range 4 + r.IntN(7) {
			n += 1 + r.IntN(30)
			at := s.old(r)
			switch folder {
			case "invoices":
				s.text(fmt.Sprintf("%s/%s/INV-%d-%05d.csv", root, folder, at.Year(), n), at, invoice(r, company, at, n))
			case "scans":
				s.put(fmt.Sprintf("%s/%s/scan_%s.pdf", root, folder, at.Format("20060102_1504")), at, pdf(fmt.Sprintf("Scan %d", n), r))
			default:
				s.put(fmt.Sprintf("%s/%s/%s_%d.pdf", root, folder, lastNames[r.IntN(len(lastNames))], n), at, pdf(company+" "+folder, r))
			}
		}
	}
}

func invoice(r *rand.Rand, company string, at time.Time, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "invoice;%d\ndate;%s\ncustomer;%s\nissuer;%s\npos;article;qty;price\n", n, at.Format(time.DateOnly), lastNames[r.IntN(len(lastNames))], company)
	for i := range 3 + r.IntN(40) {
		fmt.Fprintf(&b, "%d;%s-%04d;%d;%d.%02d\n", i+1, pickWord(r, "A", "B", "KX", "ZR"), r.IntN(9999), 1+r.IntN(50), 1+r.IntN(900), r.IntN(100))
	}
	return b.String()
}

// pdf is one page with a title and a grey picture of noise, as a scanner makes it.
func pdf(title string, r *rand.Rand) []byte {
	side := 40 + r.IntN(160)
	noise := random(r, side*side)
	for i := range noise {
		noise[i] |= 0xc0 // light
	}
	page := fmt.Sprintf("BT /F1 14 Tf 60 780 Td (%s) Tj ET q 400 0 0 400 60 300 cm /I1 Do Q", title)
	objects := []string{
		"<</Type/Catalog/Pages 2 0 R>>", "<</Type/Pages/Kids[3 0 R]/Count 1>>",
		"<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>/XObject<</I1 6 0 R>>>>>>",
		fmt.Sprintf("<</Length %d>>stream\n%s\nendstream", len(page), page), "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
		fmt.Sprintf("<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8/Length %d>>stream\n%s\nendstream", side, side, len(noise), noise),
	}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n")
	var at []int
	for i, o := range objects {
		at = append(at, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	xref := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, n := range at {
		fmt.Fprintf(&b, "%010d 00000 n \n", n)
	}
	fmt.Fprintf(&b, "trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, xref)
	return b.Bytes()
}

// downloads is a folder of firmware and manuals of devices.
func (s *share) downloads(r *rand.Rand, company string) {
	root := identity.Pick(s.host.ID, "ftp-pub", []string{"/pub", "/public", "/download", "/firmware"})
	s.dir(root, 0o755, s.old(r))
	for range 2 + r.IntN(3) {
		model := fmt.Sprintf("%s%d", pickWord(r, "SX", "RT-", "NVR", "GW", "CTRL-", "M"), 100+10*r.IntN(90))
		s.dir(root+"/"+model, 0o755, s.old(r))
		minor := r.IntN(5)
		for range 2 + r.IntN(3) {
			minor += 1 + r.IntN(3)
			v, at := fmt.Sprintf("%d.%d.%d", 1+r.IntN(3), minor, r.IntN(20)), s.old(r)
			s.put(fmt.Sprintf("%s/%s/%s_v%s.bin", root, model, strings.ToLower(model), v), at, firmware(r))
			s.text(fmt.Sprintf("%s/%s/release_notes_%s.txt", root, model, v), at, fmt.Sprintf("%s %s\n\n- stability fixes\n- %s\n", model, v,
				pickWord(r, "new time zone data", "web interface: faster start page", "support for larger disks", "fixed a leak in the event log")))
		}
		s.text(fmt.Sprintf("%s/%s/MANUAL.txt", root, model), s.old(r), fmt.Sprintf("%s quick guide\n\nSupport: support@%s.example\n", model, company))
	}
}

// random returns n bytes of the generator.
func random(r *rand.Rand, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64())
	}
	return b[:n]
}

// firmware is the header of a boot image and noise, as a compressed kernel looks.
func firmware(r *rand.Rand) []byte {
	b := random(r, 40_000+r.IntN(120_000))
	copy(b, "\x27\x05\x19\x56")
	return b
}

// tree returns a file system of its own for one session. Contents are shared until they are written to.
func (s *share) tree(now func() time.Time) *vfs.FS {
	t := vfs.New(now, maxTreeBytes, maxTreeNodes)
	for _, f := range s.files {
		t.Put(f.path, vfs.Entry{Mode: f.mode, UID: uidOwner, GID: uidOwner, MTime: f.mtime, Data: f.data})
	}
	_ = t.Chown(vfs.Cred{}, "/", uidOwner, uidOwner)
	_ = t.Chtimes(vfs.Cred{}, "/", s.week)
	t.Seal()
	return t
}
