// Draws the panels of deploy/grafana/podhook.json with Grafana's own panel library, from what a Prometheus answers to their queries.
// `draw` bundles it. The address has what is asked: ?prometheus=URL&scrape=SECONDS&from=SECONDS&to=SECONDS
import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import { useEffect, useState } from 'react';
import { createRoot } from 'react-dom/client';
import * as data from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, TimeSeries } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import dashboard from '../../../deploy/grafana/podhook.json';

const asked = new URLSearchParams(location.search);
const [scrape, from, to] = ['scrape', 'from', 'to'].map((name) => Number(asked.get(name)));
const theme = data.createTheme({ colors: { mode: 'light' } });
const timeZone = 'utc';
const timeRange = { from: data.dateTime(from * 1000), to: data.dateTime(to * 1000), raw: {} };
// The grid: 24 columns, rows of 30 pixels.
const WIDTH = 1400, MARGIN = 16, GAP = 8, ROW = 30, COLUMN = (WIDTH - 23 * GAP) / 24;

// Queries

/** The seconds between two points of a panel: its own least interval, or the data source's. */
const stepOf = (panel) => (panel.interval ? parseInt(panel.interval, 10) * { s: 1, m: 60 }[panel.interval.at(-1)] : scrape);

/** A query with Grafana's variables replaced: all nodes, all namespaces. */
const expression = (target, step) =>
  target.expr
    .replaceAll('$__rate_interval', `${Math.max(step + scrape, 4 * scrape)}s`)
    .replaceAll('$__range', `${to - from}s`)
    .replace(/\$(node|namespace)\b/g, '.*');

const legend = (target, labels) => target.legendFormat?.replace(/{{(\w+)}}/g, (_, name) => labels[name] ?? '') || undefined;

async function ask(path, query) {
  const answer = await fetch(`${asked.get('prometheus')}/api/v1/${path}?${new URLSearchParams(query)}`);
  const body = await answer.json();
  if (body.status !== 'success') throw new Error(body.error);
  return body.data.result;
}

const frame = (target, times, values, labels) =>
  data.toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: 'time', values: times },
      { name: 'Value', type: 'number', values, labels, config: { displayNameFromDS: legend(target, labels) } },
    ],
  });

async function framesOf(target, panel) {
  const step = stepOf(panel);
  const query = expression(target, step);
  if (!target.instant) {
    const times = Array.from({ length: (to - from) / step + 1 }, (_, i) => from + i * step);
    const series = await ask('query_range', { query, start: from, end: to, step });
    return series.map(({ metric, values }) => {
      const at = new Map(values);
      const value = (time) => (at.has(time) && at.get(time) !== 'NaN' ? Number(at.get(time)) : null);
      return frame(target, times.map((time) => time * 1000), times.map(value), metric);
    });
  }
  const rows = await ask('query', { query, time: to });
  if (target.format !== 'table') return rows.map(({ metric, value }) => frame(target, [to * 1000], [Number(value[1])], metric));
  const labels = [...new Set(rows.flatMap(({ metric }) => Object.keys(metric)))];
  const label = (name) => ({ name, type: 'string', values: rows.map(({ metric }) => metric[name] ?? '') });
  return [
    data.toDataFrame({
      refId: target.refId,
      fields: [
        { name: 'Time', type: 'time', values: rows.map(() => to * 1000) },
        ...labels.map(label),
        { name: 'Value', type: 'number', values: rows.map(({ value }) => Number(value[1])) },
      ],
    }),
  ];
}

// What Grafana does between a query and a panel

const transformers = ['organizeFieldsTransformer', 'orderFieldsTransformer', 'renameFieldsTransformer', 'filterFieldsByNameTransformer', 'filterFieldsTransformer', 'sortByTransformer'];
data.standardTransformersRegistry.setInit(() =>
  transformers.map((name) => ({ id: data.standardTransformers[name].id, name, transformation: async () => data.standardTransformers[name] }))
);
// What a new panel has.
const plain = {
  timeseries: {
    color: { mode: 'palette-classic' },
    custom: { drawStyle: 'line', lineInterpolation: 'linear', pointSize: 5, spanNulls: false, axisPlacement: 'auto', scaleDistribution: { type: 'linear' }, hideFrom: {} },
  },
  stat: {},
  table: { color: { mode: 'thresholds' }, thresholds: { mode: 'absolute', steps: [{ value: -Infinity, color: 'green' }] } },
};

// The library applies the properties that it knows; Grafana tells it of those of its panels, this page of those that are used.
const settings = [...Object.values(plain), ...dashboard.panels.map((panel) => panel.fieldConfig.defaults)];
const used = [
  ...settings.flatMap((them) => Object.keys(them)).filter((name) => name !== 'custom'),
  ...settings.flatMap(({ custom = {} }) => Object.keys(custom)).map((name) => `custom.${name}`),
  ...dashboard.panels.flatMap((panel) => panel.fieldConfig.overrides).flatMap((it) => it.properties).map(({ id }) => id),
];
const property = (id) => ({ id, name: id, path: id.replace('custom.', ''), isCustom: id.startsWith('custom.'), process: (value) => value, shouldApply: () => true });
const fieldConfigRegistry = new data.Registry(() => [...new Set(used)].map(property));

async function load(panel) {
  let frames = (await Promise.all(panel.targets.map((target) => framesOf(target, panel)))).flat();
  if (panel.transformations) {
    frames = await new Promise((next, error) => data.transformDataFrame(panel.transformations, frames).subscribe({ next, error }));
  }
  const fieldConfig = structuredClone(panel.fieldConfig);
  const custom = { ...plain[panel.type].custom, ...fieldConfig.defaults.custom };
  fieldConfig.defaults = { ...plain[panel.type], ...fieldConfig.defaults, custom };
  frames = data.applyFieldOverrides({ data: frames, fieldConfig, fieldConfigRegistry, replaceVariables: (text) => text, theme, timeZone });
  data.cacheFieldDisplayNames(frames);
  return frames;
}

// The page

function Drawing({ panel, frames, width, height }) {
  if (!frames.some((it) => it.length)) return 'No data';
  const { options, fieldConfig } = panel;
  switch (panel.type) {
    case 'timeseries':
      return <TimeSeries {...{ frames, timeRange, timeZone, width, height, legend: options.legend }} structureRev={1} options={{}} />;
    case 'table':
      return <TableNG {...{ data: frames[0], width, height, fieldConfig, timeRange, cellHeight: options.cellHeight }} structureRev={1} enableVirtualization={false} />;
    case 'stat': {
      const [value] = data.getFieldDisplayValues({ data: frames, fieldConfig, reduceOptions: options.reduceOptions, replaceVariables: (text) => text, theme, timeZone });
      const { colorMode, graphMode, justifyMode, textMode } = options;
      return <BigValue {...{ value: value.display, width, height, theme, colorMode, graphMode, justifyMode, textMode }} />;
    }
  }
}

function Panel({ panel }) {
  const [frames, setFrames] = useState();
  useEffect(() => {
    load(panel).then(setFrames, (error) => console.error(panel.title, error));
  }, [panel]);
  const { x, y, w, h } = panel.gridPos;
  const width = w * (COLUMN + GAP) - GAP, height = h * (ROW + GAP) - GAP;
  return (
    <div style={{ position: 'absolute', left: MARGIN + x * (COLUMN + GAP), top: MARGIN + y * (ROW + GAP), width, height }}>
      <PanelChrome title={panel.title} description={panel.description} width={width} height={height}>
        {(width, height) => frames && <Drawing {...{ panel, frames, width, height }} />}
      </PanelChrome>
    </div>
  );
}

// Where the library looks for its icons.
window.__grafana_public_path__ = '/';
createRoot(document.getElementById('page')).render(
  <data.ThemeContext.Provider value={theme}>
    <GlobalStyles />
    {dashboard.panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
  </data.ThemeContext.Provider>
);
