package shell

import (
	"slices"
	"strconv"
	"strings"

	"github.com/decnet/decnet/decoys/vfs"
)

// User is one line of the pretended /etc/passwd.
type User struct {
	Name   string
	UID    int
	GID    int
	Gecos  string
	Home   string
	Shell  string
	Groups []int
}

// Cred returns the user's credentials for the file system.
func (u User) Cred() vfs.Cred { return vfs.Cred{UID: u.UID, GID: u.GID, Groups: u.Groups} }

func itoa(n int) string { return strconv.Itoa(n) }

func (s *Session) lines(path string) []string {
	b, err := s.fs.ReadFile(vfs.Cred{}, path)
	if err != nil {
		return nil
	}
	return strings.Split(strings.TrimRight(string(b), "\n"), "\n")
}

func (s *Session) users() []User {
	var out []User
	for _, l := range s.lines("/etc/passwd") {
		p := strings.Split(l, ":")
		if len(p) < 7 {
			continue
		}
		u := User{Name: p[0], Gecos: p[4], Home: p[5], Shell: p[6]}
		u.UID, _ = strconv.Atoi(p[2])
		u.GID, _ = strconv.Atoi(p[3])
		out = append(out, u)
	}
	return out
}

// groups returns the name of every group by number, and the numbers of those name is a member of.
func (s *Session) groups(name string) (names map[int]string, member []int) {
	names = map[int]string{}
	for _, l := range s.lines("/etc/group") {
		p := strings.Split(l, ":")
		if len(p) < 4 {
			continue
		}
		gid, _ := strconv.Atoi(p[2])
		names[gid] = p[0]
		if slices.Contains(strings.Split(p[3], ","), name) {
			member = append(member, gid)
		}
	}
	return names, member
}

func (s *Session) find(name string) (User, bool) {
	for _, u := range s.users() {
		if u.Name == name || itoa(u.UID) == name {
			_, u.Groups = s.groups(u.Name)
			return u, true
		}
	}
	return User{}, false
}

func (s *Session) lookup(name string) User {
	if u, ok := s.find(name); ok {
		return u
	}
	if name == "root" {
		return User{Name: "root", Home: "/root", Shell: "/bin/bash"}
	}
	return User{Name: name, UID: 65534, GID: 65534, Home: "/", Shell: "/bin/bash"}
}

func (s *Session) userName(uid int) string {
	for _, u := range s.users() {
		if u.UID == uid {
			return u.Name
		}
	}
	return itoa(uid)
}

func (s *Session) groupName(gid int) string {
	names, _ := s.groups("")
	if n, ok := names[gid]; ok {
		return n
	}
	return itoa(gid)
}

// UserName returns the account name of a numeric id, or the number itself.
func (s *Session) UserName(uid string) string {
	n, err := strconv.Atoi(uid)
	if err != nil {
		return uid
	}
	return s.userName(n)
}

// GroupName returns the group name of a numeric id, or the number itself.
func (s *Session) GroupName(gid string) string {
	n, err := strconv.Atoi(gid)
	if err != nil {
		return gid
	}
	return s.groupName(n)
}

// CountCommand counts a command that was served outside the shell, such as scp.
func (s *Session) CountCommand() { s.count.Add(1) }
