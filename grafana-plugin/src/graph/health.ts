// SPDX-License-Identifier: Apache-2.0
import { errorShare, meanSeconds, type Health, type Thresholds, type Totals } from './model';

/** The worse of errors and latency. An edge on which every attempt to connect failed is bad without a request. */
export function healthOf(totals: Totals, thresholds: Thresholds): Health {
  const share = errorShare(totals);
  if (share === null) {
    return totals.connect_failures > 0 ? 'bad' : 'unknown';
  }
  const milliseconds = (meanSeconds(totals) ?? 0) * 1000;
  if (share >= thresholds.errorsBad || milliseconds >= thresholds.latencyBad) {
    return 'bad';
  }
  if (share >= thresholds.errorsWarning || milliseconds >= thresholds.latencyWarning) {
    return 'warning';
  }
  return 'good';
}
