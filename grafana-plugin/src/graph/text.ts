// SPDX-License-Identifier: Apache-2.0
/** Numbers as people read them. */
import { formattedValueToString, getValueFormat } from '@grafana/data';

function formatted(unit: string, value: number, decimals?: number): string {
  return formattedValueToString(getValueFormat(unit)(value, decimals ?? null));
}

export function rateText(perSecond: number): string {
  if (perSecond > 0 && perSecond < 0.1) {
    return `${significant(perSecond * 60)}/min`;
  }
  return perSecond >= 1000 ? `${formatted('short', perSecond, 1)}/s` : `${significant(perSecond)}/s`;
}

export function secondsText(seconds: number): string {
  return formatted('s', seconds, seconds < 0.001 ? 0 : seconds < 0.01 ? 1 : undefined);
}

export function bytesText(perSecond: number): string {
  return formatted('binBps', perSecond, 1);
}

export function shareText(share: number): string {
  const percent = share * 100;
  return percent > 0 && percent < 0.1 ? '<0.1 %' : `${significant(percent)} %`;
}

function significant(value: number): string {
  if (value === 0) {
    return '0';
  }
  return value >= 100 ? String(Math.round(value)) : String(Number(value.toPrecision(2)));
}
