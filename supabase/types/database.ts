// Tables, views and functions of schema public, for supabase-js: createClient<Database>(url, key).
// Made from supabase/migrations by scripts/supabase-types; a test fails when it is out of date.

export type Json = string | number | boolean | null | { [key: string]: Json | undefined } | Json[]
export type Database = {
  "public": {
    Tables: {
      "api_keys": {
        Row: {
          "created_at": string
          "expires_at": string | null
          "id": string
          "key_hash": string
          "last_used_at": string | null
          "monthly_quota": number
          "name": string
          "permissions": NonNullable<Json>
          "rate_limit": number
          "updated_at": string
          "usage_count": number
          "user_id": string
        }
        ComputedFields: never
        Insert: {
          "created_at"?: string
          "expires_at"?: string | null
          "id"?: string
          "key_hash": string
          "last_used_at"?: string | null
          "monthly_quota"?: number
          "name": string
          "permissions"?: NonNullable<Json>
          "rate_limit"?: number
          "updated_at"?: string
          "usage_count"?: number
          "user_id": string
        }
        Update: {
          "created_at"?: string
          "expires_at"?: string | null
          "id"?: string
          "key_hash"?: string
          "last_used_at"?: string | null
          "monthly_quota"?: number
          "name"?: string
          "permissions"?: NonNullable<Json>
          "rate_limit"?: number
          "updated_at"?: string
          "usage_count"?: number
          "user_id"?: string
        }
        Relationships: [
        ]
      }
      "indexing_job_events": {
        Row: {
          "context": Json | null
          "created_at": string
          "event_type": string
          "id": number
          "job_id": string
          "message": string | null
        }
        ComputedFields: never
        Insert: {
          "context"?: Json | null
          "created_at"?: string
          "event_type": string
          "id"?: number
          "job_id": string
          "message"?: string | null
        }
        Update: {
          "context"?: Json | null
          "created_at"?: string
          "event_type"?: string
          "id"?: number
          "job_id"?: string
          "message"?: string | null
        }
        Relationships: [
        ]
      }
      "indexing_jobs": {
        Row: {
          "attempt": number
          "cancel_reason": string | null
          "cancel_requested_at": string | null
          "coalesce_key": string | null
          "crashes": number
          "created_at": string
          "error_class": string | null
          "error_message": string | null
          "errors": number
          "finished_at": string | null
          "id": string
          "job_type": string
          "lease_token": number | null
          "log_bytes": number | null
          "log_lines": number | null
          "log_parts": Json | null
          "log_sealed_at": string | null
          "log_token": number | null
          "max_attempts": number
          "payload": NonNullable<Json>
          "priority": number
          "progress": Json | null
          "queued_at": string
          "repository_id": string | null
          "requested_by": string | null
          "result": Json | null
          "run_after": string
          "snoozed_since": string | null
          "snoozes": number
          "started_at": string | null
          "status": string
          "timeout_seconds": number | null
          "updated_at": string
          "user_id": string | null
          "worker_id": string | null
        }
        ComputedFields: never
        Insert: {
          "attempt"?: number
          "cancel_reason"?: string | null
          "cancel_requested_at"?: string | null
          "coalesce_key"?: string | null
          "crashes"?: number
          "created_at"?: string
          "error_class"?: string | null
          "error_message"?: string | null
          "errors"?: number
          "finished_at"?: string | null
          "id"?: string
          "job_type": string
          "lease_token"?: number | null
          "log_bytes"?: number | null
          "log_lines"?: number | null
          "log_parts"?: Json | null
          "log_sealed_at"?: string | null
          "log_token"?: number | null
          "max_attempts"?: number
          "payload"?: NonNullable<Json>
          "priority"?: number
          "progress"?: Json | null
          "queued_at"?: string
          "repository_id"?: string | null
          "requested_by"?: string | null
          "result"?: Json | null
          "run_after"?: string
          "snoozed_since"?: string | null
          "snoozes"?: number
          "started_at"?: string | null
          "status"?: string
          "timeout_seconds"?: number | null
          "updated_at"?: string
          "user_id"?: string | null
          "worker_id"?: string | null
        }
        Update: {
          "attempt"?: number
          "cancel_reason"?: string | null
          "cancel_requested_at"?: string | null
          "coalesce_key"?: string | null
          "crashes"?: number
          "created_at"?: string
          "error_class"?: string | null
          "error_message"?: string | null
          "errors"?: number
          "finished_at"?: string | null
          "id"?: string
          "job_type"?: string
          "lease_token"?: number | null
          "log_bytes"?: number | null
          "log_lines"?: number | null
          "log_parts"?: Json | null
          "log_sealed_at"?: string | null
          "log_token"?: number | null
          "max_attempts"?: number
          "payload"?: NonNullable<Json>
          "priority"?: number
          "progress"?: Json | null
          "queued_at"?: string
          "repository_id"?: string | null
          "requested_by"?: string | null
          "result"?: Json | null
          "run_after"?: string
          "snoozed_since"?: string | null
          "snoozes"?: number
          "started_at"?: string | null
          "status"?: string
          "timeout_seconds"?: number | null
          "updated_at"?: string
          "user_id"?: string | null
          "worker_id"?: string | null
        }
        Relationships: [
          {
            foreignKeyName: "indexing_jobs_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "documents"
            referencedColumns: ["repository_id"]
          },{
            foreignKeyName: "indexing_jobs_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repositories"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "indexing_jobs_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repository_status"
            referencedColumns: ["repository_id"]
          },{
            foreignKeyName: "indexing_jobs_requested_by_fkey"
            columns: ["requested_by"]
            isOneToOne: false
            referencedRelation: "api_keys"
            referencedColumns: ["id"]
          }
        ]
      }
      "job_schedules": {
        Row: {
          "catch_up": string
          "coalesce_key": string | null
          "created_at": string
          "cron": string
          "id": string
          "job_type": string
          "last_error": string | null
          "last_job_id": string | null
          "last_run_at": string | null
          "name": string
          "next_run_at": string
          "paused": boolean
          "payload": NonNullable<Json>
          "priority": number
          "repository_id": string | null
          "timezone": string
          "updated_at": string
          "user_id": string | null
        }
        ComputedFields: never
        Insert: {
          "catch_up"?: string
          "coalesce_key"?: string | null
          "created_at"?: string
          "cron": string
          "id"?: string
          "job_type": string
          "last_error"?: string | null
          "last_job_id"?: string | null
          "last_run_at"?: string | null
          "name": string
          "next_run_at": string
          "paused"?: boolean
          "payload"?: NonNullable<Json>
          "priority"?: number
          "repository_id"?: string | null
          "timezone"?: string
          "updated_at"?: string
          "user_id"?: string | null
        }
        Update: {
          "catch_up"?: string
          "coalesce_key"?: string | null
          "created_at"?: string
          "cron"?: string
          "id"?: string
          "job_type"?: string
          "last_error"?: string | null
          "last_job_id"?: string | null
          "last_run_at"?: string | null
          "name"?: string
          "next_run_at"?: string
          "paused"?: boolean
          "payload"?: NonNullable<Json>
          "priority"?: number
          "repository_id"?: string | null
          "timezone"?: string
          "updated_at"?: string
          "user_id"?: string | null
        }
        Relationships: [
          {
            foreignKeyName: "job_schedules_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "documents"
            referencedColumns: ["repository_id"]
          },{
            foreignKeyName: "job_schedules_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repositories"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "job_schedules_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repository_status"
            referencedColumns: ["repository_id"]
          }
        ]
      }
      "maintenance_tasks": {
        Row: {
          "every": string
          "last_error": string | null
          "last_run_at": string | null
          "last_worker_id": string | null
          "name": string
          "next_run_at": string
        }
        ComputedFields: never
        Insert: {
          "every": string
          "last_error"?: string | null
          "last_run_at"?: string | null
          "last_worker_id"?: string | null
          "name": string
          "next_run_at"?: string
        }
        Update: {
          "every"?: string
          "last_error"?: string | null
          "last_run_at"?: string | null
          "last_worker_id"?: string | null
          "name"?: string
          "next_run_at"?: string
        }
        Relationships: [
        ]
      }
      "queue_lanes": {
        Row: {
          "active": boolean
          "max_running": number | null
          "paused": boolean
          "updated_at": string
          "user_id": string
          "virtual_time": number
          "weight": number
        }
        ComputedFields: never
        Insert: {
          "active"?: boolean
          "max_running"?: number | null
          "paused"?: boolean
          "updated_at"?: string
          "user_id": string
          "virtual_time"?: number
          "weight"?: number
        }
        Update: {
          "active"?: boolean
          "max_running"?: number | null
          "paused"?: boolean
          "updated_at"?: string
          "user_id"?: string
          "virtual_time"?: number
          "weight"?: number
        }
        Relationships: [
        ]
      }
      "repositories": {
        Row: {
          "api_key_id": string | null
          "content_scope": number | null
          "created_at": string
          "default_branch": string | null
          "git_url": string
          "id": string
          "index_generation": number
          "last_indexed_at": string | null
          "last_indexed_commit": string | null
          "metadata": NonNullable<Json>
          "name": string
          "paused_reasons": (string)[]
          "provider": string
          "provider_id": number | null
          "repo_no": number
          "settings": NonNullable<Json>
          "size_bytes": number | null
          "status": string
          "sync_state": string
          "updated_at": string
          "user_id": string
          "visibility": string
          "webhook_hook_id": number | null
          "webhook_key_id": string | null
          "webhook_last_ping_at": string | null
          "webhook_previous_key_id": string | null
          "webhook_previous_until": string | null
          "webhook_previous_version": number | null
          "webhook_secret_fingerprint": string | null
          "webhook_secret_version": number
        }
        ComputedFields: never
        Insert: {
          "api_key_id"?: string | null
          "content_scope"?: number | null
          "created_at"?: string
          "default_branch"?: string | null
          "git_url": string
          "id"?: string
          "index_generation"?: number
          "last_indexed_at"?: string | null
          "last_indexed_commit"?: string | null
          "metadata"?: NonNullable<Json>
          "name": string
          "paused_reasons"?: (string)[]
          "provider"?: string
          "provider_id"?: number | null
          "repo_no"?: never
          "settings"?: NonNullable<Json>
          "size_bytes"?: number | null
          "status"?: string
          "sync_state"?: string
          "updated_at"?: string
          "user_id": string
          "visibility"?: string
          "webhook_hook_id"?: number | null
          "webhook_key_id"?: string | null
          "webhook_last_ping_at"?: string | null
          "webhook_previous_key_id"?: string | null
          "webhook_previous_until"?: string | null
          "webhook_previous_version"?: number | null
          "webhook_secret_fingerprint"?: string | null
          "webhook_secret_version"?: number
        }
        Update: {
          "api_key_id"?: string | null
          "content_scope"?: number | null
          "created_at"?: string
          "default_branch"?: string | null
          "git_url"?: string
          "id"?: string
          "index_generation"?: number
          "last_indexed_at"?: string | null
          "last_indexed_commit"?: string | null
          "metadata"?: NonNullable<Json>
          "name"?: string
          "paused_reasons"?: (string)[]
          "provider"?: string
          "provider_id"?: number | null
          "repo_no"?: never
          "settings"?: NonNullable<Json>
          "size_bytes"?: number | null
          "status"?: string
          "sync_state"?: string
          "updated_at"?: string
          "user_id"?: string
          "visibility"?: string
          "webhook_hook_id"?: number | null
          "webhook_key_id"?: string | null
          "webhook_last_ping_at"?: string | null
          "webhook_previous_key_id"?: string | null
          "webhook_previous_until"?: string | null
          "webhook_previous_version"?: number | null
          "webhook_secret_fingerprint"?: string | null
          "webhook_secret_version"?: number
        }
        Relationships: [
          {
            foreignKeyName: "repositories_api_key_id_fkey"
            columns: ["api_key_id"]
            isOneToOne: false
            referencedRelation: "api_keys"
            referencedColumns: ["id"]
          }
        ]
      }
      "repository_branches": {
        Row: {
          "branch_no": number
          "commit": string | null
          "generation": number
          "indexed_at": string | null
          "name": string
          "parser_version": number
          "repository_id": string
          "totals": Json | null
        }
        ComputedFields: never
        Insert: {
          "branch_no": number
          "commit"?: string | null
          "generation"?: number
          "indexed_at"?: string | null
          "name": string
          "parser_version"?: number
          "repository_id": string
          "totals"?: Json | null
        }
        Update: {
          "branch_no"?: number
          "commit"?: string | null
          "generation"?: number
          "indexed_at"?: string | null
          "name"?: string
          "parser_version"?: number
          "repository_id"?: string
          "totals"?: Json | null
        }
        Relationships: [
          {
            foreignKeyName: "repository_branches_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "documents"
            referencedColumns: ["repository_id"]
          },{
            foreignKeyName: "repository_branches_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repositories"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "repository_branches_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repository_status"
            referencedColumns: ["repository_id"]
          }
        ]
      }
      "repository_checks": {
        Row: {
          "checked_at": string | null
          "due_at": string
          "failures": number
          "missed": number
          "problem": string | null
          "repository_id": string
        }
        ComputedFields: never
        Insert: {
          "checked_at"?: string | null
          "due_at": string
          "failures"?: number
          "missed"?: number
          "problem"?: string | null
          "repository_id": string
        }
        Update: {
          "checked_at"?: string | null
          "due_at"?: string
          "failures"?: number
          "missed"?: number
          "problem"?: string | null
          "repository_id"?: string
        }
        Relationships: [
          {
            foreignKeyName: "repository_checks_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: true
            referencedRelation: "documents"
            referencedColumns: ["repository_id"]
          },{
            foreignKeyName: "repository_checks_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: true
            referencedRelation: "repositories"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "repository_checks_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: true
            referencedRelation: "repository_status"
            referencedColumns: ["repository_id"]
          }
        ]
      }
      "token_usage": {
        Row: {
          "api_key_id": string | null
          "created_at": string
          "id": number
          "job_id": string | null
          "metadata": NonNullable<Json>
          "repository_id": string | null
          "tokens_used": number
          "usage_type": string
          "user_id": string | null
        }
        ComputedFields: never
        Insert: {
          "api_key_id"?: string | null
          "created_at"?: string
          "id"?: number
          "job_id"?: string | null
          "metadata"?: NonNullable<Json>
          "repository_id"?: string | null
          "tokens_used": number
          "usage_type": string
          "user_id"?: string | null
        }
        Update: {
          "api_key_id"?: string | null
          "created_at"?: string
          "id"?: number
          "job_id"?: string | null
          "metadata"?: NonNullable<Json>
          "repository_id"?: string | null
          "tokens_used"?: number
          "usage_type"?: string
          "user_id"?: string | null
        }
        Relationships: [
          {
            foreignKeyName: "token_usage_api_key_id_fkey"
            columns: ["api_key_id"]
            isOneToOne: false
            referencedRelation: "api_keys"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "token_usage_job_id_fkey"
            columns: ["job_id"]
            isOneToOne: false
            referencedRelation: "indexing_jobs"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "token_usage_job_id_fkey"
            columns: ["job_id"]
            isOneToOne: false
            referencedRelation: "repository_status"
            referencedColumns: ["job_id"]
          },{
            foreignKeyName: "token_usage_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "documents"
            referencedColumns: ["repository_id"]
          },{
            foreignKeyName: "token_usage_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repositories"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "token_usage_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repository_status"
            referencedColumns: ["repository_id"]
          }
        ]
      }
      "usage_metrics": {
        Row: {
          "api_key_id": string | null
          "created_at": string
          "endpoint": string
          "id": string
          "method": string
          "response_time_ms": number | null
          "status_code": number | null
          "tokens_used": number
        }
        ComputedFields: never
        Insert: {
          "api_key_id"?: string | null
          "created_at"?: string
          "endpoint": string
          "id"?: string
          "method": string
          "response_time_ms"?: number | null
          "status_code"?: number | null
          "tokens_used"?: number
        }
        Update: {
          "api_key_id"?: string | null
          "created_at"?: string
          "endpoint"?: string
          "id"?: string
          "method"?: string
          "response_time_ms"?: number | null
          "status_code"?: number | null
          "tokens_used"?: number
        }
        Relationships: [
          {
            foreignKeyName: "usage_metrics_api_key_id_fkey"
            columns: ["api_key_id"]
            isOneToOne: false
            referencedRelation: "api_keys"
            referencedColumns: ["id"]
          }
        ]
      }
      "user_api_keys": {
        Row: {
          "api_key": string
          "created_at": string
          "service": string
          "updated_at": string
          "user_id": string
        }
        ComputedFields: never
        Insert: {
          "api_key": string
          "created_at"?: string
          "service": string
          "updated_at"?: string
          "user_id": string
        }
        Update: {
          "api_key"?: string
          "created_at"?: string
          "service"?: string
          "updated_at"?: string
          "user_id"?: string
        }
        Relationships: [
        ]
      }
      "webhook_deliveries": {
        Row: {
          "delivery_id": string
          "error_message": string | null
          "event_type": string | null
          "headers": Json | null
          "id": number
          "job_id": string | null
          "payload": Json | null
          "processed_at": string | null
          "provider": string
          "received_at": string
          "repository_id": string | null
          "signature": string | null
          "status": string
        }
        ComputedFields: never
        Insert: {
          "delivery_id": string
          "error_message"?: string | null
          "event_type"?: string | null
          "headers"?: Json | null
          "id"?: number
          "job_id"?: string | null
          "payload"?: Json | null
          "processed_at"?: string | null
          "provider"?: string
          "received_at"?: string
          "repository_id"?: string | null
          "signature"?: string | null
          "status"?: string
        }
        Update: {
          "delivery_id"?: string
          "error_message"?: string | null
          "event_type"?: string | null
          "headers"?: Json | null
          "id"?: number
          "job_id"?: string | null
          "payload"?: Json | null
          "processed_at"?: string | null
          "provider"?: string
          "received_at"?: string
          "repository_id"?: string | null
          "signature"?: string | null
          "status"?: string
        }
        Relationships: [
          {
            foreignKeyName: "webhook_deliveries_job_id_fkey"
            columns: ["job_id"]
            isOneToOne: false
            referencedRelation: "indexing_jobs"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "webhook_deliveries_job_id_fkey"
            columns: ["job_id"]
            isOneToOne: false
            referencedRelation: "repository_status"
            referencedColumns: ["job_id"]
          },{
            foreignKeyName: "webhook_deliveries_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "documents"
            referencedColumns: ["repository_id"]
          },{
            foreignKeyName: "webhook_deliveries_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repositories"
            referencedColumns: ["id"]
          },{
            foreignKeyName: "webhook_deliveries_repository_id_fkey"
            columns: ["repository_id"]
            isOneToOne: false
            referencedRelation: "repository_status"
            referencedColumns: ["repository_id"]
          }
        ]
      }
      "workers": {
        Row: {
          "drain_requested_at": string | null
          "hostname": string
          "id": string
          "job_types": (string)[]
          "last_seen_at": string
          "machine": string | null
          "pid": number
          "renewing_since": string
          "slots": number
          "started_at": string
          "state": string
          "version": string
        }
        ComputedFields: never
        Insert: {
          "drain_requested_at"?: string | null
          "hostname": string
          "id": string
          "job_types"?: (string)[]
          "last_seen_at"?: string
          "machine"?: string | null
          "pid": number
          "renewing_since"?: string
          "slots": number
          "started_at"?: string
          "state"?: string
          "version": string
        }
        Update: {
          "drain_requested_at"?: string | null
          "hostname"?: string
          "id"?: string
          "job_types"?: (string)[]
          "last_seen_at"?: string
          "machine"?: string | null
          "pid"?: number
          "renewing_since"?: string
          "slots"?: number
          "started_at"?: string
          "state"?: string
          "version"?: string
        }
        Relationships: [
        ]
      }
    }
    Views: {
      "documents": {
        Row: {
          "branch": string
          "content": string | null
          "content_hash": string | null
          "created_at": string
          "id": string | null
          "metadata": Json | null
          "path": string
          "repository_id": string
          "tags": (string)[] | null
          "title": string | null
          "updated_at": string | null
          "user_id": string
        }
        ComputedFields: never
        Relationships: [
        ]
      }
      "queue_depth": {
        Row: {
          "job_type": string | null
          "jobs": number | null
          "oldest_queued_at": string | null
          "status": string | null
          "user_id": string | null
        }
        ComputedFields: never
        Relationships: [
        ]
      }
      "repository_status": {
        Row: {
          "attempt": number | null
          "default_branch": string | null
          "error_class": string | null
          "error_message": string | null
          "finished_at": string | null
          "git_url": string
          "index_generation": number
          "job_id": string | null
          "job_status": string | null
          "job_type": string | null
          "last_indexed_at": string | null
          "last_indexed_commit": string | null
          "name": string
          "progress": Json | null
          "queued_at": string | null
          "repository_id": string
          "started_at": string | null
          "status": string
          "sync_state": string
          "user_id": string
        }
        ComputedFields: never
        Relationships: [
        ]
      }
    }
    Functions: {
      "find_callers":
      {
        Args: {
          "after"?: string
          "branch"?: string
          "language"?: string
          "max_results"?: number
          "name": string
          "owner"?: string
          "path_glob"?: string
          "repository"?: string }; Returns: {
          "branch_name": string
          "call_lines": (number)[]
          "caller": string
          "commit": string
          "content": string
          "cursor": string
          "end_line": number
          "kind": string
          "language_name": string
          "line": number
          "path": string
          "qualname": string
          "repository_id": string
          "repository_name": string
          "signature": string
        }[]
      },
      "find_references":
      {
        Args: {
          "after"?: string
          "branch"?: string
          "language"?: string
          "max_results"?: number
          "name": string
          "owner"?: string
          "path_glob"?: string
          "repository"?: string }; Returns: {
          "branch_name": string
          "commit": string
          "content": string
          "cursor": string
          "kind": string
          "language_name": string
          "line": number
          "path": string
          "repository_id": string
          "repository_name": string
        }[]
      },
      "impact":
      {
        Args: {
          "after"?: string
          "branch"?: string
          "file_path": string
          "max_depth"?: number
          "max_results"?: number
          "owner"?: string
          "repository"?: string }; Returns: {
          "branch_name": string
          "commit": string
          "cursor": string
          "distance": number
          "line": number
          "module": string
          "path": string
          "repository_id": string
          "repository_name": string
          "via": string
        }[]
      },
      "list_documents":
      {
        Args: {
          "after"?: string
          "branch"?: string
          "language"?: string
          "max_results"?: number
          "owner"?: string
          "path_glob"?: string
          "repository"?: string }; Returns: {
          "branch_name": string
          "commit": string
          "cursor": string
          "language_name": string
          "lines": number
          "note": string
          "oid": string
          "path": string
          "repository_id": string
          "repository_name": string
          "size": number
          "skipped": string
          "tokens": number
        }[]
      },
      "outline":
      {
        Args: {
          "after"?: string
          "branch"?: string
          "file_path": string
          "max_results"?: number
          "owner"?: string
          "repository"?: string }; Returns: {
          "branch_name": string
          "commit": string
          "cursor": string
          "depth": number
          "doc": string
          "end_line": number
          "kind": string
          "line": number
          "name": string
          "parent": string
          "path": string
          "qualname": string
          "repository_id": string
          "repository_name": string
          "signature": string
        }[]
      },
      "search_code":
      {
        Args: {
          "after"?: string
          "branch"?: string
          "case_sensitive"?: boolean
          "context"?: number
          "language"?: string
          "max_per_file"?: number
          "max_results"?: number
          "owner"?: string
          "path_glob"?: string
          "query": string
          "regex"?: boolean
          "repository"?: string }; Returns: {
          "branch_name": string
          "commit": string
          "content": string
          "cursor": string
          "is_definition": boolean
          "language_name": string
          "line": number
          "lines_after": (string)[]
          "lines_before": (string)[]
          "match_length": number
          "match_start": number
          "matching_lines": number
          "path": string
          "repository_id": string
          "repository_name": string
        }[]
      },
      "search_symbols":
      {
        Args: {
          "after"?: string
          "branch"?: string
          "language"?: string
          "max_results"?: number
          "mode"?: string
          "owner"?: string
          "path_glob"?: string
          "query": string
          "repository"?: string
          "symbol_kind"?: string }; Returns: {
          "branch_name": string
          "commit": string
          "cursor": string
          "doc": string
          "end_line": number
          "kind": string
          "language_name": string
          "line": number
          "name": string
          "parent": string
          "path": string
          "qualname": string
          "repository_id": string
          "repository_name": string
          "signature": string
        }[]
      }
    }
    Enums: {
      [_ in never]: never
    }
    CompositeTypes: {
      [_ in never]: never
    }
  }
}
type DatabaseWithoutInternals = Omit<Database, '__InternalSupabase'>
type DefaultSchema = DatabaseWithoutInternals[Extract<keyof Database, "public">]
export type Tables<
DefaultSchemaTableNameOrOptions extends
| keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
| { schema: keyof DatabaseWithoutInternals },
TableName extends DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
? keyof (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
  DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])
: never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
? (DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"] &
  DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Views"])[TableName] extends {
  Row: infer R
}
? R
: never
: DefaultSchemaTableNameOrOptions extends keyof (DefaultSchema["Tables"] & DefaultSchema["Views"])
? (DefaultSchema["Tables"] & DefaultSchema["Views"])[DefaultSchemaTableNameOrOptions] extends {
  Row: infer R
}
? R
: never
: never
export type TablesInsert<
DefaultSchemaTableNameOrOptions extends
| keyof DefaultSchema["Tables"]
| { schema: keyof DatabaseWithoutInternals },
TableName extends DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
: never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
  Insert: infer I
}
? I
: never
: DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
  Insert: infer I
}
? I
: never
: never
export type TablesUpdate<
DefaultSchemaTableNameOrOptions extends
| keyof DefaultSchema["Tables"]
| { schema: keyof DatabaseWithoutInternals },
TableName extends DefaultSchemaTableNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
? keyof DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"]
: never = never
> = DefaultSchemaTableNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
? DatabaseWithoutInternals[DefaultSchemaTableNameOrOptions["schema"]]["Tables"][TableName] extends {
  Update: infer U
}
? U
: never
: DefaultSchemaTableNameOrOptions extends keyof DefaultSchema["Tables"]
? DefaultSchema["Tables"][DefaultSchemaTableNameOrOptions] extends {
  Update: infer U
}
? U
: never
: never
export type Enums<
DefaultSchemaEnumNameOrOptions extends
| keyof DefaultSchema["Enums"]
| { schema: keyof DatabaseWithoutInternals },
EnumName extends DefaultSchemaEnumNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
? keyof DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"]
: never = never
> = DefaultSchemaEnumNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
? DatabaseWithoutInternals[DefaultSchemaEnumNameOrOptions["schema"]]["Enums"][EnumName]
: DefaultSchemaEnumNameOrOptions extends keyof DefaultSchema["Enums"]
? DefaultSchema["Enums"][DefaultSchemaEnumNameOrOptions]
: never
export type CompositeTypes<
PublicCompositeTypeNameOrOptions extends
| keyof DefaultSchema["CompositeTypes"]
| { schema: keyof DatabaseWithoutInternals },
CompositeTypeName extends PublicCompositeTypeNameOrOptions extends {
  schema: keyof DatabaseWithoutInternals
}
? keyof DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"]
: never = never
> = PublicCompositeTypeNameOrOptions extends { schema: keyof DatabaseWithoutInternals }
? DatabaseWithoutInternals[PublicCompositeTypeNameOrOptions["schema"]]["CompositeTypes"][CompositeTypeName]
: PublicCompositeTypeNameOrOptions extends keyof DefaultSchema["CompositeTypes"]
? DefaultSchema["CompositeTypes"][PublicCompositeTypeNameOrOptions]
: never
export const Constants = {
  "public": {
    Enums: {
    }
  }
} as const
