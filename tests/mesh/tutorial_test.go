package mesh

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// block is a code block of the tutorial: commands and, if a text block follows, what they print.
type block struct {
	section    string // "Step 3: Canary release 2.0"
	subsection string // "Way back", or empty
	commands   string
	output     string
}

// tutorial reads the blocks of docs/tutorial.md in their order.
func tutorial(t *testing.T) []block {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "docs/tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	var blocks []block
	var current block
	fence := ""
	var inside strings.Builder
	for line := range strings.Lines(string(content)) {
		switch text := strings.TrimRight(line, "\n"); {
		case fence == "" && strings.HasPrefix(text, "## "):
			current = block{section: strings.TrimPrefix(text, "## ")}
		case fence == "" && strings.HasPrefix(text, "### "):
			current.subsection = strings.TrimPrefix(text, "### ")
		case fence == "" && strings.HasPrefix(text, "```"):
			fence = strings.TrimPrefix(text, "```")
			inside.Reset()
		case text == "```":
			if fence == "bash" {
				current.commands = inside.String()
				blocks = append(blocks, current)
			} else {
				blocks[len(blocks)-1].output = inside.String()
			}
			fence = ""
		default:
			inside.WriteString(line)
		}
	}
	if len(blocks) < 20 {
		t.Fatalf("the tutorial has %d blocks only", len(blocks))
	}
	return blocks
}

// step is the name that the tests know a section by: "Step 3b".
func (b block) step() string {
	name, _, _ := strings.Cut(b.section, ":")
	return name
}

func (b block) isStep() bool {
	return strings.HasPrefix(b.section, "Step ")
}

func (b block) isWayBack() bool {
	return b.subsection == "Way back"
}
