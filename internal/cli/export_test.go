package cli

import "io"

// CleanLines returns what stands between an export and a terminal.
func CleanLines(w io.Writer, csv bool) io.Writer {
	if csv {
		return &lineCleaner{w: w, escape: Clean}
	}
	return &lineCleaner{w: w, escape: escapeJSON}
}

// RowsOf returns how many rows an export has, and the error it ends in.
func RowsOf(csv bool, pieces ...[]byte) (int, error) {
	r := &rowReader{csv: csv}
	for _, p := range pieces {
		_, _ = r.Write(p)
	}
	return r.count(), r.failure()
}
