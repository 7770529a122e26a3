// SPDX-License-Identifier: Apache-2.0
import grafana from '@grafana/eslint-config/flat.js';

export default [
  { ignores: ['dist/**', 'harness/dist/**', 'node_modules/**', 'coverage/**', 'dashboards/**'] },
  ...[grafana].flat(),
  {
    files: ['src/**/*.{ts,tsx}', 'harness/**/*.{ts,tsx}'],
    rules: {
      'no-console': 'error',
      eqeqeq: 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
    },
  },
];
