// What `azd env set` or `export` sets, for `azd up` and for `az deployment group create` alike.
using 'main.bicep'

param environmentName = readEnvironmentVariable('AZURE_ENV_NAME')
param location = readEnvironmentVariable('AZURE_LOCATION')

param instanceMemoryMB = int(readEnvironmentVariable('CPO_INSTANCE_MEMORY_MB', '2048'))
param maximumInstanceCount = int(readEnvironmentVariable('CPO_MAXIMUM_INSTANCES', '40'))
param httpConcurrency = int(readEnvironmentVariable('CPO_HTTP_CONCURRENCY', '32'))
param alwaysReadyHttp = int(readEnvironmentVariable('CPO_ALWAYS_READY_HTTP', '0'))

param consoleClientId = readEnvironmentVariable('CPO_CONSOLE_CLIENT_ID', '')

param storageSku = readEnvironmentVariable('CPO_STORAGE_SKU', 'Standard_LRS')
param auditRetentionDays = int(readEnvironmentVariable('CPO_AUDIT_RETENTION_DAYS', '0'))

param openAi = readEnvironmentVariable('CPO_OPENAI', '')
param openAiModel = readEnvironmentVariable('CPO_OPENAI_MODEL', 'gpt-4o-mini')
param openAiDeployment = readEnvironmentVariable('CPO_OPENAI_DEPLOYMENT', readEnvironmentVariable('CPO_OPENAI_MODEL', 'gpt-4o-mini'))
param openAiModelVersion = readEnvironmentVariable('CPO_OPENAI_MODEL_VERSION', '2024-07-18')
param openAiCapacity = int(readEnvironmentVariable('CPO_OPENAI_CAPACITY', '50'))
param openAiEmbedding = readEnvironmentVariable('CPO_OPENAI_EMBEDDING', '')
param contentSafety = readEnvironmentVariable('CPO_CONTENT_SAFETY', '')
param search = readEnvironmentVariable('CPO_SEARCH', '')
param searchSku = readEnvironmentVariable('CPO_SEARCH_SKU', 'basic')
param mlflow = readEnvironmentVariable('CPO_MLFLOW', '')

param privateNetworking = bool(readEnvironmentVariable('CPO_PRIVATE_NETWORKING', 'false'))
param clientAddresses = filter(split(readEnvironmentVariable('CPO_CLIENT_ADDRESSES', ''), ','), a => !empty(a))

param otlpEndpoint = readEnvironmentVariable('CPO_OTLP_ENDPOINT', '')
param alertEmail = readEnvironmentVariable('CPO_ALERT_EMAIL', '')
param monthlyBudget = int(readEnvironmentVariable('CPO_MONTHLY_BUDGET', '0'))
param budgetStart = readEnvironmentVariable('CPO_BUDGET_START', '')
