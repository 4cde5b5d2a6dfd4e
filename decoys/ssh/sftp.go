package ssh

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"

	"github.com/pkg/sftp"

	"github.com/decnet/decnet/decoys/eventlog"
	"github.com/decnet/decnet/decoys/vfs"
)

// sftp serves the subsystem on the pretended files.
func (s *channel) sftp(ctx context.Context) int {
	h := sftpFiles{s}
	srv := sftp.NewRequestServer(s.ch, sftp.Handlers{FileGet: h, FilePut: h, FileCmd: h, FileList: h}, sftp.WithStartDirectory(s.sh.User().Home))
	stop := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stop()
	if err := srv.Serve(); err != nil && !errors.Is(err, io.EOF) {
		return 255
	}
	return 0
}

// sftpFiles maps requests to the file system of the session's user.
type sftpFiles struct{ s *channel }

func (f sftpFiles) cred() vfs.Cred { return f.s.sh.User().Cred() }

// Fileread implements sftp.FileReader.
func (f sftpFiles) Fileread(r *sftp.Request) (io.ReaderAt, error) {
	h, err := f.s.sh.FS().Open(f.cred(), r.Filepath, os.O_RDONLY, 0)
	if err != nil {
		return nil, denied(err)
	}
	f.s.Event("download", eventlog.F("path", r.Filepath[:min(len(r.Filepath), 1024)]))
	return h, nil
}

// Filewrite implements sftp.FileWriter.
func (f sftpFiles) Filewrite(r *sftp.Request) (io.WriterAt, error) { return f.OpenFile(r) }

// OpenFile implements sftp.OpenFileWriter.
func (f sftpFiles) OpenFile(r *sftp.Request) (sftp.WriterAtReaderAt, error) {
	fl := r.Pflags()
	flag := os.O_RDONLY
	switch {
	case fl.Read && fl.Write:
		flag = os.O_RDWR
	case fl.Write || r.Method == "Put":
		flag = os.O_WRONLY
	}
	for set, bit := range map[*bool]int{&fl.Creat: os.O_CREATE, &fl.Trunc: os.O_TRUNC, &fl.Excl: os.O_EXCL} {
		if *set {
			flag |= bit
		}
	}
	perm := fs.FileMode(0o644)
	if r.AttrFlags().Permissions {
		perm = r.Attributes().FileMode().Perm()
	}
	h, err := f.s.sh.FS().Open(f.cred(), r.Filepath, flag, perm)
	if err != nil {
		return nil, denied(err)
	}
	return &upload{File: h, s: f.s}, nil
}

// upload reports the file when it is closed.
type upload struct {
	*vfs.File
	s *channel
}

// Close implements io.Closer.
func (u *upload) Close() error {
	err := u.File.Close()
	if err == nil && u.Written() {
		u.s.sh.Uploaded(u.Name(), u.Bytes(), "sftp-server")
	}
	return err
}

// Filecmd implements sftp.FileCmder.
func (f sftpFiles) Filecmd(r *sftp.Request) error {
	t := f.s.sh.FS()
	var err error
	switch r.Method {
	case "Setstat":
		err = f.setstat(r)
	case "Rename", "PosixRename":
		err = t.Rename(f.cred(), r.Filepath, r.Target)
	case "Rmdir", "Remove":
		err = t.Remove(f.cred(), r.Filepath)
	case "Mkdir":
		err = t.Mkdir(f.cred(), r.Filepath, 0o755)
	case "Symlink":
		err = t.Symlink(f.cred(), r.Filepath, r.Target)
	case "Link":
		err = t.Link(f.cred(), r.Filepath, r.Target)
	default:
		return sftp.ErrSSHFxOpUnsupported
	}
	return denied(err)
}

func (f sftpFiles) setstat(r *sftp.Request) error {
	t, a, fl := f.s.sh.FS(), r.Attributes(), r.AttrFlags()
	var err error
	if fl.Permissions {
		err = t.Chmod(f.cred(), r.Filepath, a.FileMode())
	}
	if fl.UidGid && err == nil {
		err = t.Chown(f.cred(), r.Filepath, int(a.UID), int(a.GID))
	}
	if fl.Acmodtime && err == nil {
		err = t.Chtimes(f.cred(), r.Filepath, a.ModTime())
	}
	if fl.Size && err == nil {
		var h *vfs.File
		if h, err = t.Open(f.cred(), r.Filepath, os.O_WRONLY, 0); err == nil {
			err = h.Truncate(int64(min(a.Size, vfs.MaxFileBytes+1)))
			_ = h.Close()
		}
	}
	return err
}

// Filelist implements sftp.FileLister.
func (f sftpFiles) Filelist(r *sftp.Request) (sftp.ListerAt, error) {
	t := f.s.sh.FS()
	if r.Method == "List" {
		infos, err := t.ReadDir(f.cred(), r.Filepath)
		if err != nil {
			return nil, denied(err)
		}
		return listing(infos), nil
	}
	i, err := t.Stat(f.cred(), r.Filepath, true)
	if err != nil {
		return nil, denied(err)
	}
	return listing{i}, nil
}

// Lstat implements sftp.LstatFileLister.
func (f sftpFiles) Lstat(r *sftp.Request) (sftp.ListerAt, error) {
	i, err := f.s.sh.FS().Stat(f.cred(), r.Filepath, false)
	if err != nil {
		return nil, denied(err)
	}
	return listing{i}, nil
}

// Readlink implements sftp.ReadlinkFileLister.
func (f sftpFiles) Readlink(p string) (string, error) {
	i, err := f.s.sh.FS().Stat(f.cred(), p, false)
	if err != nil {
		return "", denied(err)
	}
	return i.Target, nil
}

// RealPath implements sftp.RealPathFileLister.
func (f sftpFiles) RealPath(p string) (string, error) {
	abs := vfs.Clean(f.s.sh.User().Home, p)
	if real, err := f.s.sh.FS().Real(f.cred(), abs); err == nil {
		return real, nil
	}
	return abs, nil
}

// LookupUserName implements sftp.NameLookupFileLister, which otherwise would ask the real machine.
func (f sftpFiles) LookupUserName(uid string) string { return f.s.sh.UserName(uid) }

// LookupGroupName implements sftp.NameLookupFileLister.
func (f sftpFiles) LookupGroupName(gid string) string { return f.s.sh.GroupName(gid) }

type listing []vfs.Info

// ListAt implements sftp.ListerAt.
func (l listing) ListAt(out []os.FileInfo, off int64) (int, error) {
	if off >= int64(len(l)) {
		return 0, io.EOF
	}
	n := 0
	for n < len(out) && int(off)+n < len(l) {
		out[n] = l[int(off)+n]
		n++
	}
	if n < len(out) {
		return n, io.EOF
	}
	return n, nil
}
