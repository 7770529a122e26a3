// SPDX-License-Identifier: Apache-2.0
module.exports = {
  testEnvironment: 'jsdom',
  rootDir: 'src',
  testMatch: ['**/*.test.ts?(x)'],
  transform: {
    '^.+\\.m?[tj]sx?$': [
      '@swc/jest',
      {
        jsc: {
          target: 'es2021',
          parser: { syntax: 'typescript', tsx: true },
          transform: { react: { runtime: 'classic' } },
        },
      },
    ],
  },
  // These come as ES modules only.
  transformIgnorePatterns: [
    'node_modules/(?!(d3-[a-z]+|d3|ol|uuid|react-colorful|internmap|delaunator|robust-predicates|marked|@grafana|react-calendar|get-user-locale|memoize|mimic-fn|mimic-function|map-age-cleaner|p-defer|pbf|quickselect|rbush|color-.*|geotiff|quick-lru|xml-utils|web-worker|lerc|ol-mapbox-style|earcut)/)',
  ],
  moduleNameMapper: {
    '\\.css$': '<rootDir>/../jest.style.cjs',
    'layout/spawn$|^\\./spawn$': '<rootDir>/layout/spawn.fake.ts',
  },
};
