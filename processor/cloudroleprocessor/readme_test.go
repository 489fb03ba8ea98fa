// SPDX-License-Identifier: Apache-2.0

package cloudroleprocessor

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

func readme(t *testing.T) string {
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	return string(text)
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// configsInBlock validates a YAML block of the README as a user's file would be.
func configsInBlock(t *testing.T, block string) []*Config {
	conf := confFromYAML(t, block)
	require.True(t, conf.IsSet("processors"), block)
	processors, err := conf.Sub("processors")
	require.NoError(t, err)
	var configs []*Config
	for name := range processors.ToStringMap() {
		var id component.ID
		require.NoError(t, id.UnmarshalText([]byte(name)))
		require.Equal(t, NewFactory().Type(), id.Type())
		sub, err := processors.Sub(name)
		require.NoError(t, err)
		cfg := createDefaultConfig().(*Config)
		require.NoError(t, sub.Unmarshal(cfg), block)
		require.NoError(t, confmap.Validate(cfg), block)
		configs = append(configs, cfg)
	}
	return configs
}

func TestReadmeBlocks(t *testing.T) {
	blocks := yamlBlock.FindAllStringSubmatch(readme(t), -1)
	require.Len(t, blocks, 3)
	for _, block := range blocks {
		require.NotEmpty(t, configsInBlock(t, block[1]))
	}
}

// tableRows returns the cells of the first Markdown table in text.
func tableRows(text string) (rows [][]string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "|") {
			if rows != nil {
				return rows
			}
			continue
		}
		cells := strings.Split(strings.TrimSuffix(strings.TrimSpace(line), "|"), "|")[1:]
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		if strings.Trim(cells[0], "-") != "" {
			rows = append(rows, cells)
		}
	}
	return rows
}

// TestReadmeDefaults: the table has each key, and the default that it has in the code.
func TestReadmeDefaults(t *testing.T) {
	_, section, found := strings.Cut(readme(t), "\n## Configuration\n")
	require.True(t, found)
	rows := tableRows(section)
	require.Equal(t, []string{"Key", "Type", "Default", "Allowed", "Meaning"}, rows[0])
	defaults := make(map[string]string)
	for _, row := range rows[1:] {
		require.Len(t, row, 5)
		defaults[row[0]] = row[2]
	}

	want := reflect.ValueOf(createDefaultConfig()).Elem()
	keys := 0
	for i := range want.NumField() {
		key := want.Type().Field(i).Tag.Get("mapstructure")
		if key == "" {
			continue
		}
		keys++
		text, ok := defaults[key]
		require.True(t, ok, "key %s is not in the table", key)
		documented := new(Config)
		require.NoError(t, confFromYAML(t, key+": "+text).Unmarshal(documented), key)
		got := reflect.ValueOf(documented).Elem().Field(i)
		switch got.Kind() {
		case reflect.Map, reflect.Slice: // empty and nil are the same here
			if got.Len()+want.Field(i).Len() == 0 {
				continue
			}
		}
		assert.Equal(t, want.Field(i).Interface(), got.Interface(), key)
	}
	rule := reflect.TypeFor[RuleConfig]()
	for i := range rule.NumField() {
		if key := rule.Field(i).Tag.Get("mapstructure"); key != "" {
			keys++
			require.Contains(t, defaults, "rules[]."+key)
		}
	}
	require.Len(t, defaults, keys, "keys in the table that do not exist")
}

// TestReadmeCases runs the worked cases.
func TestReadmeCases(t *testing.T) {
	sections := strings.Split(readme(t), "\n## ")
	cases := 0
	for _, section := range sections {
		if !strings.HasPrefix(section, "Case ") {
			continue
		}
		cases++
		configs := configsInBlock(t, yamlBlock.FindStringSubmatch(section)[1])
		require.Len(t, configs, 1)
		rows := tableRows(section)
		require.Greater(t, len(rows), 1)
		for col := 1; col < len(rows[0]); col += 2 {
			require.Equal(t, []string{"In", "Out"}, rows[0][col:col+2])
			in, want := attrs{}, attrs{}
			for _, row := range rows[1:] {
				if row[col] != "" {
					in[row[0]] = row[col]
				}
				if row[col+1] != "" {
					want[row[0]] = row[col+1]
				}
			}
			for _, sig := range signals {
				p, err := sig.create(NewFactory(), nopSettings(), configs[0])
				require.NoError(t, err)
				got, err := p.send(t.Context(), false, withAttributes(t, in))
				require.NoError(t, err)
				require.Len(t, got, 1)
				assert.Equal(t, want, got[0].Attributes().AsRaw())
			}
		}
	}
	require.Equal(t, 2, cases)
}
