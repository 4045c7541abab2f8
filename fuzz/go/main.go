// Writes the tables of what Go, and Kubernetes in Go, make of texts that podhook reads too. podhook's unit tests compare
// themselves with them.
//
// usage: go run . FOLDER
package main

import (
	"encoding/json"
	"fmt"
	"math/rand"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
)

// One line of a table: the text, and what became of it; no results for an error.
type row struct {
	Text    string   `json:"text"`
	Results []string `json:"results"`
}

// Go takes minutes for a number of a million digits.
var longExponent = regexp.MustCompile(`[eE][-+]?[0-9]{4}`)

// Each seed, and what comes of it by small changes.
func texts(seeds, alphabet []string, count int, fits func(string) bool) []string {
	random := rand.New(rand.NewSource(1))
	pick := func(from []string) string { return from[random.Intn(len(from))] }
	known := map[string]bool{}
	for _, seed := range seeds {
		known[seed] = true
	}
	for len(known) < count {
		text := pick(seeds)
		for changes := 1 + random.Intn(3); changes > 0; changes-- {
			at := random.Intn(len(text) + 1)
			switch end := at + random.Intn(2); {
			case end > len(text) || random.Intn(3) > 0:
				text = text[:at] + pick(alphabet) + text[at:]
			default:
				text = text[:at] + pick(alphabet) + text[end:]
			}
		}
		if strings.ToValidUTF8(text, "") == text && fits(text) {
			known[text] = true
		}
	}
	var all []string
	for text := range known {
		all = append(all, text)
	}
	sort.Strings(all)
	return all
}

func write(folder, name string, texts []string, of func(string) []string) {
	var out strings.Builder
	for _, text := range texts {
		line, err := json.Marshal(row{text, of(text)})
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(&out, "%s\n", line)
	}
	if err := os.WriteFile(filepath.Join(folder, name), []byte(out.String()), 0o644); err != nil {
		panic(err)
	}
}

// In thousandths, and whole: what the kubelet takes of processors and of memory.
func quantity(text string) []string {
	parsed, err := resource.ParseQuantity(text)
	if err != nil {
		return nil
	}
	return []string{fmt.Sprint(parsed.MilliValue()), fmt.Sprint(parsed.Value())}
}

// The request line's target, as the kubelet makes it of a handler's path (formatURL in pkg/probe/http).
func target(path string) []string {
	parsed, err := url.Parse(path)
	if err != nil {
		parsed = &url.URL{Path: path}
	}
	parsed.Scheme, parsed.Host = "http", "10.0.0.5:8080"
	sent, err := url.Parse(parsed.String())
	if err != nil {
		return nil
	}
	return []string{sent.RequestURI()}
}

// Where http://10.0.0.5:8080/a/b?c=d leads with this Location: to the same host (scheme, host and port, target), elsewhere.
func location(text string) []string {
	base, err := url.Parse("http://10.0.0.5:8080/a/b?c=d")
	if err != nil {
		panic(err)
	}
	led, err := base.Parse(text)
	if err != nil {
		return nil
	}
	if led.Hostname() != base.Hostname() {
		return []string{"elsewhere"}
	}
	return []string{led.Scheme, led.Host, led.RequestURI()}
}

// Whether Kubernetes takes it as the name of a port, and of a header.
func names(text string) []string {
	return []string{
		fmt.Sprint(len(validation.IsValidPortName(text)) == 0),
		fmt.Sprint(len(validation.IsHTTPHeaderName(text)) == 0),
	}
}

func main() {
	any := func(string) bool { return true }
	short := func(text string) bool { return !longExponent.MatchString(text) }
	// podhook puts the slash before a path that has none, as Go does; what is else there of a URL no handler's path has.
	absolute := func(text string) bool { return strings.HasPrefix(text, "/") }
	folder := os.Args[1]
	write(folder, "quantities.jsonl", texts(
		[]string{"", "0", "1", "100m", "0.1", "1.5", ".5", "2.", "1e3", "1E3", "1e-3", "+250m", "-1", "-1.5", "64Mi", "1Gi", "1Ei",
			"8Ei", "1k", "1K", "1E", "9E", "10E", "0.5Mi", "0.001", "0.0001", "1n", "1u", "999999999n", "1e18", "1e19", "1e30",
			"1e-9", "1e-10", "9223372036854775807", "9223372036854775808",
			"-9223372036854775808", "99999999999999999999999999999999999999", "1000000000000000000000000000000000000000000",
			"0.00000000000000000000000000000000000000001", "00001", "1e+3", "1e", "1e+", "1i", "Mi", "1 ", " 1", "1.2.3", "1e3m",
			"12345678901234567890", "0.1234567890123456789", "-0.1m", "1.1Ki", "3.1Ei", "0x10", "1_000", "٣"},
		strings.Split("0 1 2 5 9 . + - e E n u m k M G T P Ei Ki Mi i 00 000000000 999 e1 e-1", " "), 1200, short), quantity)
	write(folder, "targets.jsonl", texts(
		[]string{"/", "/drain", "/drain?a=b&c=%20d", "/a%2Fb", "/a b", "/a?b c", "/é?é", "/100%?a#b", "/a?b=100%", "/a#b", "/a#%",
			"/a?", "/?", "/a//b", "/../a", "/./a", "/a;b=c", "/a|b", "/[1]", "/a^b", "/a`b", "/{a}", "/\"a\"", "/<a>", "/a\\b",
			"/a:b", "/a@b", "/%zz", "/%41", "/%e9", "/%C3%A9", "/!$&'()*+,;=:@", "/~-._", "/a?x=<>\"`{}|\\^[]"},
		strings.Split("% %2 %2F %2f ? # / . .. : ; @ & = + $ , ! * ' ( ) [ ] { } | \\ ^ ` < > \" ~ _ a Z 0 é 日", " "), 1200, absolute), target)
	write(folder, "locations.jsonl", texts(
		[]string{"/x", "x", "./x", "../x", "../../x", "?q", "#f", "", "//10.0.0.5/x", "//10.0.0.5:9/x", "//elsewhere/x", "http://10.0.0.5/x",
			"http://10.0.0.5:8080", "http://10.0.0.5:8080?q", "https://10.0.0.5:443/x", "http://other:80/", "mailto:a", "ftp://10.0.0.5/x",
			"http://u:p@10.0.0.5/x", "http://10.0.0.5:/x", "http://10.0.0.5:0/x", "http://10.0.0.5:99999/x", "HTTP://10.0.0.5/x",
			"http:///x", "http:x", "/a/./b/../c", "/a/..", "/a/.", "..", ".", "a/../../../b", "//", "///x", "http://[::1]/x", "http://[::1",
			"/x?a=/../b", "%2e%2e/x", "/%zz", "x:y", "1:y", ":x", "http://10.0.0.5:8a/x", "http://10.0.0.5/x y", "/x#y?z"},
		strings.Split("% %2F ? # / . .. : ; @ & [ ] 10.0.0.5 :80 x // \\ é", " "), 1200, any), location)
	write(folder, "names.jsonl", texts(
		[]string{"http", "a", "1", "80", "a-b", "-a", "a-", "a--b", "fifteen-letters", "sixteen--letters", "A", "a.b", "", "é", "X-Key", "x_y",
			"X Key", "X:", "a b", "Authorization"},
		strings.Split("a z A 0 9 - -- . _ : ! é", " "), 400, any), names)
}
