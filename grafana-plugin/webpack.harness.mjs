// SPDX-License-Identifier: Apache-2.0
// A page that stands for Grafana in the browser tests: its React, its components, its module loader, and nothing else.
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import webpack from 'webpack';
import { swc } from './webpack.config.mjs';

const here = path.dirname(fileURLToPath(import.meta.url));

export default () => ({
  mode: 'production',
  devtool: false,
  context: path.join(here, 'harness'),
  target: ['web', 'es2021'],
  entry: { harness: './main.tsx' },
  resolve: {
    extensions: ['.ts', '.tsx', '.js', '.mjs'],
    fallback: { stream: false, buffer: false, path: false, fs: false },
  },
  module: {
    rules: [
      swc,
      { test: /\.m?js$/, resolve: { fullySpecified: false } },
      { test: /\.css$/, type: 'asset/source' },
      { test: /\.(svg|png|ttf|woff2?)$/, type: 'asset/resource' },
    ],
  },
  output: {
    path: path.join(here, 'harness/dist'),
    clean: true,
    filename: '[name].js',
    chunkFilename: '[name].js',
    publicPath: '/',
  },
  optimization: { minimize: false },
  performance: { hints: false },
  plugins: [new webpack.optimize.LimitChunkCountPlugin({ maxChunks: 12 })],
});
