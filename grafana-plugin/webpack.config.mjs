// SPDX-License-Identifier: Apache-2.0
// The plugin as an AMD module, as Grafana's loader wants it. What Grafana has already stays outside.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import CopyPlugin from 'copy-webpack-plugin';

const here = path.dirname(fileURLToPath(import.meta.url));
const about = JSON.parse(readFileSync(path.join(here, 'package.json'), 'utf8'));

export const swc = {
  test: /\.tsx?$/,
  exclude: /node_modules/,
  loader: 'swc-loader',
  options: {
    jsc: {
      target: 'es2021',
      parser: { syntax: 'typescript', tsx: true },
      // React.createElement rather than react/jsx-runtime: the element must be of the React that Grafana has.
      transform: { react: { runtime: 'classic' } },
    },
  },
};

export default (env) => ({
  mode: env.production ? 'production' : 'development',
  devtool: env.production ? 'source-map' : 'eval-source-map',
  context: path.join(here, 'src'),
  target: ['web', 'es2021'],
  entry: { module: './module.ts' },
  externals: [{ 'amd-module': 'module' }, 'react', 'react-dom', '@emotion/css', '@grafana/data', '@grafana/ui'],
  resolve: { extensions: ['.ts', '.tsx', '.js'] },
  module: {
    rules: [swc, { test: /elk-worker\.min\.js$/, type: 'asset/resource', generator: { filename: 'elk-worker.js' } }],
  },
  output: {
    path: path.join(here, 'dist'),
    clean: true,
    filename: '[name].js',
    chunkFilename: 'worker.js',
    library: { type: 'amd' },
    publicPath: '',
    uniqueName: about.name,
  },
  // Each file is loaded by one loader of its own: nothing is shared between them.
  optimization: { splitChunks: false, moduleIds: 'deterministic', chunkIds: 'deterministic' },
  performance: { hints: false },
  plugins: [
    new CopyPlugin({
      patterns: [
        {
          from: 'plugin.json',
          transform: (text) => text.toString().replace('%VERSION%', about.version).replace('%UPDATED%', about.released),
        },
        { from: 'img', to: 'img' },
        ...about.screenshots.map((name) => ({ from: path.join(here, '../docs/img/grafana', name), to: 'img' })),
        { from: path.join(here, 'README.md') },
        { from: path.join(here, 'CHANGELOG.md') },
        { from: path.join(here, '../LICENSE'), to: 'LICENSE', toType: 'file' },
      ],
    }),
  ],
});
