package ingest

import "time"

// maxTimeBytes is the longest timestamp: nanoseconds and an offset.
const maxTimeBytes = 35

// parseTime reads RFC 3339 as RFC 5424 narrows it (capital T and Z, no leap second), with up to nine digits of a second, of
// which six are kept. Without a zone it is UTC. Years before 1970 are refused.
func parseTime(s string) (time.Time, bool) {
	if len(s) < len("2006-01-02T15:04:05") || s[4] != '-' || s[7] != '-' || s[10] != 'T' || s[13] != ':' || s[16] != ':' {
		return time.Time{}, false
	}
	year := two(s[0:])*100 + two(s[2:])
	month, day := two(s[5:]), two(s[8:])
	hour, minute, second := two(s[11:]), two(s[14:]), two(s[17:])
	if two(s[0:]) < 0 || two(s[2:]) < 0 || year < 1970 || month < 1 || month > 12 || day < 1 || hour < 0 || hour > 23 ||
		minute < 0 || minute > 59 || second < 0 || second > 59 {
		return time.Time{}, false
	}
	nanos, rest, ok := fraction(s[19:])
	if !ok {
		return time.Time{}, false
	}
	offset, ok := zone(rest)
	if !ok {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, nanos, time.UTC)
	if t.Day() != day {
		return time.Time{}, false
	}
	t = t.Add(-offset)
	return t, t.Year() >= 1970 && t.Year() <= 9999
}

// two reads two digits; it is negative if they are none.
func two(s string) int {
	if !isDigit(s[0]) || !isDigit(s[1]) {
		return -1
	}
	return int(s[0]-'0')*10 + int(s[1]-'0')
}

func fraction(s string) (nanos int, rest string, ok bool) {
	if s == "" || s[0] != '.' {
		return 0, s, true
	}
	n, unit := 1, 100_000_000
	for ; n < len(s) && isDigit(s[n]); n++ {
		nanos += int(s[n]-'0') * unit
		unit /= 10
	}
	if n == 1 || n > 10 {
		return 0, "", false
	}
	return nanos / 1000 * 1000, s[n:], true
}

func zone(s string) (time.Duration, bool) {
	if s == "" || s == "Z" {
		return 0, true
	}
	if len(s) != len("+00:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	h, m := two(s[1:]), two(s[4:])
	if h < 0 || h > 23 || m < 0 || m > 59 {
		return 0, false
	}
	d := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute
	if s[0] == '-' {
		d = -d
	}
	return d, true
}
